// What the form holds, the request that is made of it, and the link that holds it.

import { safe } from "../pictures";
import type { RubricText } from "../types";
import type { Attached } from "./attach";

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
  /** Pictures that are sent before the instruction, and before the responses. */
  pictures: Attached[];
  response_pictures: Attached[];
  other_pictures: Attached[];
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
  pictures: [],
  response_pictures: [],
  other_pictures: [],
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
    ...asked(draft),
    ...answered(draft),
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

/** The instruction; with pictures, a conversation of one turn. */
function asked({ instruction, pictures }: Draft): Record<string, unknown> {
  if (pictures.length === 0) return { instruction };
  return { messages: [{ role: "user", content: parts(pictures, instruction) }] };
}

/** What is judged: texts, or the parts of messages. */
function answered(draft: Draft): Record<string, unknown> {
  const said = (pictures: Attached[], text: string) => (pictures.length > 0 ? parts(pictures, text) : text);
  const response = said(draft.response_pictures, draft.response);
  return draft.pair ? { response_a: response, response_b: said(draft.other_pictures, draft.other) } : { response };
}

/** Pictures and the text after them, as the parts of a message. */
function parts(pictures: Attached[], text: string): object[] {
  const shown = pictures.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  return text ? [...shown, { type: "text", text }] : shown;
}

/** The fields of a draft that hold pictures. */
const PICTURES = ["pictures", "response_pictures", "other_pictures"] as const;
export type PicturesField = (typeof PICTURES)[number];

/** How many pictures the request has. */
export function countPictures(draft: Draft): number {
  const sent = PICTURES.filter(field => draft.pair || field !== "other_pictures");
  return sent.reduce((sum, field) => sum + draft[field].length, 0);
}

/** The part of a link that holds the request, and whether its pictures are missing as they made it too long; null if its texts do. */
export function link(draft: Draft): { address: string; without: boolean } | null {
  const address = encoded(draft);
  if (address) return { address, without: false };
  const bare = PICTURES.some(field => draft[field].length > 0) ? encoded({ ...draft, ...Object.fromEntries(PICTURES.map(field => [field, []])) }) : null;
  return bare === null ? null : { address: bare, without: true };
}

function encoded(draft: Draft): string | null {
  const isChanged = (key: string, value: unknown) => (Array.isArray(value) ? value.length > 0 : value !== EMPTY[key as keyof Draft]);
  const changed = Object.entries(draft).filter(([key, value]) => isChanged(key, value));
  const json = JSON.stringify(Object.fromEntries(changed));
  // Base64 makes it only longer.
  if (json.length > LONGEST_LINK) return null;
  const text = new TextEncoder().encode(json);
  const binary = Array.from(text, byte => String.fromCharCode(byte)).join("");
  const part = btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  return part.length > LONGEST_LINK ? null : `#/playground/${part}`;
}

/** The request in a link. Throws if it holds none. */
export function fromLink(encoded: string): Draft {
  const binary = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  const text = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(binary, char => char.charCodeAt(0)));
  const found = JSON.parse(text) as Record<string, unknown>;
  for (const [key, value] of Object.entries(found)) {
    const known = EMPTY[key as keyof Draft];
    const fits = key === "inline" ? isRubric(value) : Array.isArray(known) ? arePictures(value) : typeof value === typeof known;
    if (!(key in EMPTY) || !fits) throw new Error(`it has a wrong \`${key}\``);
  }
  return { ...EMPTY, ...found };
}

/** Whether it is a list of pictures that the page may show: a link is written by anybody. */
function arePictures(value: unknown): boolean {
  return Array.isArray(value) && value.every(picture => typeof picture?.name === "string" && safe(picture.url) === picture.url);
}

function isRubric(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { criterion, descriptions } = value as Partial<RubricText>;
  const texts = typeof descriptions === "object" && descriptions !== null ? Object.values(descriptions) : [null];
  return typeof criterion === "string" && texts.every(text => typeof text === "string");
}
