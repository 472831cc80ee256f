// Files of results that are open, or being read.

import type { Message } from "./worker";
import type { Row } from "./result";
import type { Summary } from "./reader";

/** Milliseconds between two drawings, however many rows come. */
const PAUSE = 150;

export interface Run {
  file: File;
  rows: Row[];
  /** Bytes that have been read. */
  read: number;
  summary: Summary | null;
  failure: string;
}

/** Reads a file; `changed` is told at each step. Returns what stops it. */
export function open(file: File, changed: (run: Run) => void): () => void {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const run: Run = { file, rows: [], read: 0, summary: null, failure: "" };
  let timer = 0;
  const draw = () => {
    timer ||= window.setTimeout(() => {
      timer = 0;
      changed({ ...run });
    }, PAUSE);
  };
  worker.onmessage = ({ data }: MessageEvent<Message>) => {
    if (data.kind === "rows") {
      for (const row of data.rows) run.rows.push(row);
      run.read = data.read;
    } else {
      worker.terminate();
      if (data.kind === "done") run.summary = data.summary;
      else run.failure = data.reason;
    }
    draw();
  };
  worker.onerror = () => {
    run.failure = "The file could not be read.";
    draw();
  };
  worker.postMessage(file);
  changed({ ...run });
  return () => {
    worker.terminate();
    clearTimeout(timer);
  };
}
