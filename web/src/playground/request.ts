// What the form holds, the request that is made of it, and the link that holds it.

import type { RubricText } from "../types";

export interface Draft {
  pair: boolean;
  instruction: string;
  response: string;
  other: string;
  reference: string;
  /** A name of the library, unless `inline` has the text of one. */
  rubric: string;
  inline: RubricText | null;
  model: string;
  prompt: string;
  mode: "feedback" | "score";
  method: "" | "pairwise" | "absolute";
  samples: number;
  temperature: number;
  seed: number;
  debug: boolean;
}

export const EMPTY: Draft = {
  pair: false,
  instruction: "",
  response: "",
  other: "",
  reference: "",
  rubric: "helpfulness",
  inline: null,
  model: "",
  prompt: "",
  mode: "feedback",
  method: "",
  samples: 1,
  temperature: 0,
  seed: 0,
  debug: false,
};

/** Links that are longer are cut by mail programs and chats. */
const LONGEST_LINK = 16_000;

export function path(draft: Draft): string {
  return draft.pair ? "/v1/grade/relative" : "/v1/grade/absolute";
}

/** The body: what the form leaves at its default is left out. */
export function body(draft: Draft): Record<string, unknown> {
  const sampling = {
    ...(draft.temperature > 0 && { temperature: draft.temperature }),
    ...(draft.seed !== 0 && { seed: draft.seed }),
  };
  return {
    instruction: draft.instruction,
    ...(draft.pair ? { response_a: draft.response, response_b: draft.other } : { response: draft.response }),
    ...(draft.reference && { reference_answer: draft.reference }),
    rubric: draft.inline ?? draft.rubric,
    ...(draft.model && { model: draft.model }),
    ...(draft.prompt && { prompt: draft.prompt }),
    ...(draft.mode !== "feedback" && { mode: draft.mode }),
    ...(draft.pair && draft.method && { method: draft.method }),
    ...(draft.samples > 1 && { samples: draft.samples }),
    ...(Object.keys(sampling).length > 0 && { sampling }),
    ...(draft.debug && { debug: true }),
  };
}

/** The part of a link that holds the request; null if it would be too long. */
export function link(draft: Draft): string | null {
  const changed = Object.entries(draft).filter(([key, value]) => value !== EMPTY[key as keyof Draft]);
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(changed)));
  const binary = Array.from(text, byte => String.fromCharCode(byte)).join("");
  const encoded = btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  return encoded.length > LONGEST_LINK ? null : `#/playground/${encoded}`;
}

/** The request in a link. Throws if it holds none. */
export function fromLink(encoded: string): Draft {
  const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  const text = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(binary, char => char.charCodeAt(0)));
  const found = JSON.parse(text) as Record<string, unknown>;
  for (const [key, value] of Object.entries(found)) {
    const known = EMPTY[key as keyof Draft];
    const fits = key === "inline" ? isRubric(value) : typeof value === typeof known;
    if (!(key in EMPTY) || !fits) throw new Error(`it has a wrong \`${key}\``);
  }
  return { ...EMPTY, ...found };
}

function isRubric(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { criterion, descriptions } = value as Partial<RubricText>;
  const texts = typeof descriptions === "object" && descriptions !== null ? Object.values(descriptions) : [null];
  return typeof criterion === "string" && texts.every(text => typeof text === "string");
}
