// Where the judged texts stand in a prompt, and what was changed in them.

import type { Debug, Neutralized } from "../types";

export interface Piece {
  text: string;
  /** The field of the request that it comes from; empty for what the prompt set says. */
  field: string;
  /** Whether it is a marker that was changed, so that it cannot be taken for the prompt's own. */
  neutralized: boolean;
}

interface Span {
  start: number;
  end: number;
  field: string;
  changed: [number, number][];
}

/** Cuts a prompt into pieces; texts that are not found in it are left unmarked. */
export function pieces(debug: Debug, texts: Record<string, string>): Piece[] {
  const spans: Span[] = [];
  for (const [field, text] of Object.entries(texts)) {
    const found = text && find(debug.prompt, field, text, debug.neutralized.filter(n => n.field === field), spans);
    if (found) spans.push(found);
  }
  spans.sort((a, b) => a.start - b.start);
  const result: Piece[] = [];
  let at = 0;
  const push = (end: number, field: string, neutralized = false) => {
    if (end > at) result.push({ text: debug.prompt.slice(at, end), field, neutralized });
    at = Math.max(at, end);
  };
  for (const span of spans) {
    push(span.start, "");
    for (const [start, end] of span.changed) {
      push(start, span.field);
      push(end, span.field, true);
    }
    push(span.end, span.field);
  }
  push(debug.prompt.length, "");
  return result;
}

/** Finds a text by its unchanged parts, which follow each other with little between. */
function find(prompt: string, field: string, text: string, changes: Neutralized[], taken: Span[]): Span | null {
  const characters = Array.from(text);
  const parts: string[] = [];
  let from = 0;
  for (const { start, end } of [...changes].sort((a, b) => a.start - b.start)) {
    parts.push(characters.slice(from, start).join(""));
    from = end;
  }
  parts.push(characters.slice(from).join(""));
  // Prompt sets trim what they insert.
  parts[0] = parts[0]?.trimStart() ?? "";
  parts[parts.length - 1] = parts.at(-1)?.trimEnd() ?? "";
  for (const edge of EDGES) {
    for (const start of starts(prompt, parts, changes)) {
      const span = matched(prompt, field, parts, start, changes);
      if (!span || taken.some(other => span.start < other.end && other.start < span.end)) continue;
      if (edge.test(prompt.charAt(start - 1)) && edge.test(prompt.charAt(span.end))) return span;
    }
  }
  return null;
}

/** What may stand at both ends of a judged text: prompt sets give it lines of its own, or else marks of its own. */
const EDGES = [/^\n?$/, /^[\s<>:"]?$/];

/** Where a text may begin: at its first part, or at the line that a changed marker begins. */
function* starts(prompt: string, [first = "", second = ""]: string[], changes: Neutralized[]): Generator<number> {
  const anchor = first || second;
  if (anchor === "") return;
  for (let at = prompt.indexOf(anchor); at >= 0; at = prompt.indexOf(anchor, at + 1)) {
    const line = prompt.lastIndexOf("\n", at - 1) + 1;
    if (first !== "") yield at;
    else if (at - line <= (changes[0]?.text.length ?? 0) + SLACK) yield line;
  }
}

/** How much longer than itself a changed marker may be, in UTF-16 units. */
const SLACK = 16;

function matched(prompt: string, field: string, parts: string[], start: number, changes: Neutralized[]): Span | null {
  let at = start + (parts[0]?.length ?? 0);
  const changed: [number, number][] = [];
  for (const [i, part] of parts.slice(1).entries()) {
    const width = (changes[i]?.text.length ?? 0) + SLACK;
    // An empty part follows its marker at once.
    const next = part === "" ? endOfMarker(prompt, at, width) : prompt.indexOf(part, at + 1);
    if (next < 0 || next - at > width) return null;
    changed.push([at, next]);
    at = next + part.length;
  }
  return { start, end: at, field, changed };
}

function endOfMarker(prompt: string, at: number, width: number): number {
  const line = prompt.indexOf("\n", at);
  return line >= 0 && line - at <= width ? line : at + width - SLACK;
}
