// Reads a file of results line by line, without holding its text.

import { NoResult, type Row, row } from "./result";

/** The longest line that is read, in bytes. */
const LONGEST = 16 * 1024 * 1024;
/** The most lines that are held. */
const MOST = 1_000_000;
/** Rows that are handed over together. */
const TOGETHER = 2000;
const END = 10;

export interface Summary {
  rows: number;
  unreadable: number;
  /** Whether the last line ends in the middle. */
  cut: boolean;
}

/** A file that is no results file; the message says what it is and what to do. */
export class WrongFile extends Error {}

/** Hands the rows of a file over as they are read, with how many bytes of it that was. */
export async function read(file: Blob, take: (rows: Row[], read: number) => void): Promise<Summary> {
  const beginning = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  refuseOthers(beginning, file.size);
  const lines = new Lines(take);
  const reader = file.stream().getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return lines.end();
    lines.add(value);
  }
}

function refuseOthers(beginning: Uint8Array, size: number): void {
  if (size === 0) throw new WrongFile("The file is empty.");
  const text = String.fromCharCode(...beginning);
  if (text.startsWith("PAR1")) throw new WrongFile("This is a Parquet file. Open the JSON lines beside it, `FILE.run.jsonl`.");
  if (text.startsWith("\x1f\x8b")) throw new WrongFile("This file is compressed. Unpack it with gunzip first.");
  if (text.startsWith("PK")) throw new WrongFile("This is a zip archive. Unpack it first.");
}

class Lines {
  private readonly decoder = new TextDecoder("utf-8", { fatal: true });
  private readonly summary: Summary = { rows: 0, unreadable: 0, cut: false };
  private rows: Row[] = [];
  /** What there is of a line that has not ended. */
  private parts: Uint8Array[] = [];
  private held = 0;
  private offset = 0;
  private line = 0;

  constructor(private readonly take: (rows: Row[], read: number) => void) {}

  add(chunk: Uint8Array): void {
    let from = 0;
    for (let end = chunk.indexOf(END); end >= 0; end = chunk.indexOf(END, from)) {
      this.hold(chunk.subarray(from, end));
      this.finish(1);
      from = end + 1;
    }
    this.hold(chunk.subarray(from));
    this.hand();
  }

  end(): Summary {
    if (this.held > 0) {
      const before = this.summary.unreadable;
      this.finish(0);
      this.summary.cut = this.summary.unreadable > before;
    }
    this.hand();
    if (this.summary.rows === 0) throw new WrongFile("The file has no line with a result.");
    return this.summary;
  }

  private hold(part: Uint8Array): void {
    // A line that is too long is counted, not held.
    if (this.held <= LONGEST) this.parts.push(part.slice());
    this.held += part.length;
    if (this.held > LONGEST) {
      this.parts = [];
      if (this.summary.rows === 0) {
        throw new WrongFile(`Line ${this.line + 1} is longer than 16 MiB. A results file is JSON lines: one result a line.`);
      }
    }
  }

  private finish(ending: number): void {
    this.line += 1;
    const length = this.held;
    const found = this.parsed(length);
    this.offset += length + ending;
    this.parts = [];
    this.held = 0;
    if (!found) return;
    this.rows.push(found);
    this.summary.rows += 1;
    if (found.kind === "unreadable") this.summary.unreadable += 1;
    if (this.summary.rows > MOST) {
      throw new WrongFile("The file has more than 1,000,000 results. Split it: `split -l 500000 FILE`.");
    }
    if (this.rows.length >= TOGETHER) this.hand();
  }

  private parsed(length: number): Row | null {
    try {
      if (length > LONGEST) throw new NoResult("it is longer than 16 MiB");
      const text = this.decoder.decode(joined(this.parts, length));
      return text.trim() ? row(text, this.line, this.offset, length) : null;
    } catch (error) {
      const why = error instanceof NoResult ? error.message : error instanceof SyntaxError ? "it is no JSON" : "it is not UTF-8";
      if (this.summary.rows === 0) {
        throw new WrongFile(
          `Line ${this.line} is no result: ${why}. Open what \`gavel grade --out results.jsonl\` or a batch has written: JSON lines with \`id\` and \`verdict\` or \`error\`.`,
        );
      }
      const place = { line: this.line, offset: this.offset, length };
      return { ...place, id: `line ${this.line}`, kind: "unreadable", label: why, value: null, reward: null, mass: null, consistent: null, rubric: "" };
    }
  }

  private hand(): void {
    this.take(this.rows, this.offset);
    this.rows = [];
  }
}

function joined(parts: Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1 && parts[0]) return parts[0];
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
