// The queue of reviews: a reviewer claims an item, labels or skips it, and does so again to change a label.

import { getJson, json, Problem, send } from "../api";
import type { RubricText, Verdict } from "../types";

const STORED = "gavel.reviewer";
/** Items that are asked for at once; the others are tried where somebody claims the first. */
const TOGETHER = 3;
/** How often the queue is looked at for an item that nobody else has. */
const ROUNDS = 10;

export interface Review {
  id: string;
  kind: "absolute" | "relative";
  request: Record<string, unknown>;
  rubrics: (RubricText & { name: string })[];
  /** The labels that it may get. */
  options: string[];
  wanted: number;
  labelled: number;
  label: string | null;
  /** What the judge says, and what reviewers say; null until the reader has labelled. */
  verdict: Partial<Verdict> | null;
  labels: { reviewer: string; label: string; note: string | null }[] | null;
}

export interface Agreement {
  reviews: number;
  labels: number;
  alpha: number | null;
  judged: number;
  accuracy: number | null;
  kappa: number | null;
}

/** The server has no keys, so a reviewer has to say a name. */
export class NameNeeded extends Error {}

export class Queue {
  /** The reviewer's name, while the server has no keys. */
  name = sessionStorage.getItem(STORED);

  call(name: string | null): void {
    this.name = name;
    if (name === null) sessionStorage.removeItem(STORED);
    else sessionStorage.setItem(STORED, name);
  }

  /** Claims the oldest item that is to be had; null if there is none. */
  async next(): Promise<Review | null> {
    const who = this.name === null ? "" : `&reviewer=${encodeURIComponent(this.name)}`;
    for (let round = 0; round < ROUNDS; round++) {
      const page: { data: Review[] } = await getJson(`/v1/reviews?limit=${TOGETHER}${who}`);
      if (page.data.length === 0) return null;
      for (const found of page.data) {
        const claimed = await this.claim(found.id);
        if (claimed) return claimed;
      }
    }
    throw new Problem(0, "Other reviewers are faster", "each item was claimed by somebody else before you; try again");
  }

  /** Claims an item for a quarter of an hour, or once more; null if others have all its seats. */
  claim(id: string): Promise<Review | null> {
    return unlessTaken(this.post(id, "claim", {}));
  }

  /** Labels an item. A claim that has ended is renewed first; null if others have all seats meanwhile. */
  async label(id: string, label: string, note: string): Promise<Review | null> {
    const fields = { label, note: note || null };
    const labelled = await unlessTaken(this.post(id, "label", fields));
    if (labelled) return labelled;
    return (await this.claim(id)) && unlessTaken(this.post(id, "label", fields));
  }

  skip(id: string): Promise<Review> {
    return this.post(id, "skip", {});
  }

  agreement(): Promise<Agreement> {
    return getJson("/v1/reviews/agreement");
  }

  private async post(id: string, what: string, fields: object): Promise<Review> {
    const body = this.name === null ? fields : { reviewer: this.name, ...fields };
    try {
      return await (await send(`/v1/reviews/${encodeURIComponent(id)}/${what}`, json("POST", body))).json();
    } catch (error) {
      if (Problem.from(error).pointer !== "/reviewer") throw error;
      if (this.name === null) throw new NameNeeded();
      // Keys are on: the reviewer is the key.
      this.call(null);
      return this.post(id, what, fields);
    }
  }
}

/** The answer, or null where the server says that the seat belongs to somebody else. */
async function unlessTaken<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (Problem.from(error).status === 409) return null;
    throw error;
  }
}

/** What the judge says, as a label. */
export function judged(review: Review): string | null {
  const verdict = review.verdict as { preference?: string; score?: number } | null;
  const label = verdict?.preference ?? verdict?.score;
  return label === undefined || label === null ? null : String(label);
}

/** The key of each label: its own where it is one, else the number of its place. */
export function keysOf(options: string[]): Map<string, string> {
  const pair = options.includes("A");
  const own = pair || options.every(option => /^[0-9]$/.test(option));
  const key = (option: string, at: number) => (own ? option.slice(0, 1).toLowerCase() : String((at + 1) % 10));
  // The eleventh label of a scale from 0 to 10 has no key.
  return new Map(options.slice(0, 10).map((option, at) => [key(option, at), option]));
}
