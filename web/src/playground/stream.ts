// A judgement as it is written.

import { json, Problem, send } from "../api";
import { events } from "../sse";
import type { Verdict } from "../types";

/** What of the feedback is there, by the judgement that it belongs to. */
export type Written = Map<string, string>;

interface Delta {
  sample: number;
  delta: string;
  order?: string;
  criterion?: number;
  response?: string;
}

function heading(event: Delta): string {
  const parts = [];
  if (event.order) parts.push(event.order === "AB" ? "A shown first" : "B shown first");
  if (event.response) parts.push(`response ${event.response}`);
  if (event.criterion !== undefined) parts.push(`rubric ${event.criterion + 1}`);
  if (event.sample > 0) parts.push(`sample ${event.sample + 1}`);
  return parts.join(", ") || "Feedback";
}

/** Asks for a verdict; `progress` is told what has been written so far. */
export async function judge(
  path: string,
  body: unknown,
  progress: (written: Written) => void,
  signal: AbortSignal,
): Promise<Verdict> {
  const init = json("POST", body);
  const headers = { ...init.headers, Accept: "text/event-stream" };
  const response = await send(path, { ...init, headers, signal });
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream") || !response.body) return response.json();
  let written: Written = new Map();
  try {
    for await (const { event, data } of events(response.body)) {
      const value = JSON.parse(data);
      if (event === "verdict") return value;
      if (event === "error") throw Problem.read(value.status ?? 0, value);
      if (event !== "feedback") continue;
      const name = heading(value);
      written = new Map(written).set(name, (written.get(name) ?? "") + value.delta);
      progress(written);
    }
  } catch (error) {
    if (signal.aborted || error instanceof Problem) throw error;
  }
  throw new Problem(0, "The connection ended before the verdict", "What was written until then is below. Ask again when the server is back.");
}
