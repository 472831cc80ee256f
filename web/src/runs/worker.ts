// Reads a file beside the page, so that the page answers meanwhile.

import { read, type Summary } from "./reader";
import type { Row } from "./result";

export type Message =
  | { kind: "rows"; rows: Row[]; read: number }
  | { kind: "done"; summary: Summary }
  | { kind: "failed"; reason: string };

const tell = (message: Message) => postMessage(message);

onmessage = async (event: MessageEvent<File>) => {
  try {
    const summary = await read(event.data, (rows, read) => tell({ kind: "rows", rows, read }));
    tell({ kind: "done", summary });
  } catch (error) {
    tell({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
  }
};
