// A line of a results file, and what the list of them shows.

/** What a results file says of an item, without its texts. */
export interface Row {
  id: string;
  /** The line in the file, from 1. */
  line: number;
  /** Where the line stands in the file, in bytes. */
  offset: number;
  length: number;
  kind: "absolute" | "relative" | "other" | "error" | "unreadable";
  /** The label: a score, or `A`, `B` or `tie`; the code of an error. */
  label: string;
  /** The expected score, or the probability of A. */
  value: number | null;
  reward: number | null;
  mass: number | null;
  consistent: boolean | null;
  rubric: string;
}

/** A line that is JSON but no result. */
export class NoResult extends Error {}

/** Reads a line of `gavel grade --out` or of a batch's output. Throws if it is no JSON or no result. */
export function row(text: string, line: number, offset: number, length: number): Row {
  const place = { line, offset, length };
  const empty = { value: null, reward: null, mass: null, consistent: null, rubric: "" };
  const { id, verdict, error } = result(JSON.parse(text));
  if (error) return { ...place, ...empty, id, kind: "error", label: code(error) };
  const number = (value: unknown) => (typeof value === "number" ? value : null);
  const common = { ...place, id, mass: number(verdict.label_mass), rubric: String(verdict.rubric?.name ?? "") };
  if (verdict.object === "verdict.relative" || "preference" in verdict) {
    const consistent = typeof verdict.consistent === "boolean" ? verdict.consistent : null;
    return { ...common, kind: "relative", label: String(verdict.preference), value: number(verdict.probability_a), reward: null, consistent };
  }
  if ("score" in verdict || "reward" in verdict) {
    const label = verdict.score === null || verdict.score === undefined ? "several" : String(verdict.score);
    return { ...common, kind: "absolute", label, value: number(verdict.expected_score), reward: number(verdict.reward), consistent: null };
  }
  return { ...common, kind: "other", label: String(verdict.object ?? "other"), value: null, reward: null, consistent: null };
}

/** The id of a line, with its verdict or its error. */
export function result(found: any): { id: string; verdict?: any; error?: any } {
  const isObject = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isObject(found)) throw new NoResult("it is no object");
  const id = found.custom_id ?? found.id;
  if (id === undefined) throw new NoResult("it has no `id`");
  if (isObject(found.error)) return { id: String(id), error: found.error };
  if (isObject(found.verdict)) return { id: String(id), verdict: found.verdict };
  if (isObject(found.response)) {
    const { status_code: status, body } = found.response;
    return status === 200 && isObject(body) ? { id: String(id), verdict: body } : { id: String(id), error: body ?? { status } };
  }
  throw new NoResult("it has neither `verdict`, `error` nor `response`");
}

function code(error: any): string {
  return String(error.code ?? error.error?.code ?? error.status ?? "error");
}
