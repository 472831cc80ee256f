// The request of the form for other programs. None has the key: they read it from `GAVEL_API_KEY`.

import { storedKey } from "../api";
import { body, type Draft, path } from "./request";

export function asJson(draft: Draft): string {
  return JSON.stringify(body(draft), null, 2);
}

/** The longest body that is an argument of a command; Linux takes 128 KiB. */
const LONGEST_ARGUMENT = 100_000;

export function asCurl(draft: Draft): string {
  const key = storedKey() === null ? "" : ` \\\n  -H "Authorization: Bearer $GAVEL_API_KEY"`;
  const head = `curl -s ${location.origin}${path(draft)} \\\n  -H 'Content-Type: application/json'${key} \\\n  `;
  const text = asJson(draft);
  // A line of the body is never `END`: line breaks in texts are escaped.
  if (text.length > LONGEST_ARGUMENT) return `${head}--data-binary @- <<'END'\n${text}\nEND`;
  return `${head}-d '${text.replaceAll("'", `'\\''`)}'`;
}

export function asPython(draft: Draft): string {
  const call = draft.pair ? "relative" : "absolute";
  const fields = Object.entries(body(draft)).map(([name, value]) => `        ${name}=${literal(value, 8)},`);
  const shown = draft.pair ? "verdict.preference, verdict.probability_a" : "verdict.score, verdict.reward";
  return [
    "from gavel_client import Gavel",
    "",
    `with Gavel(${literal(location.origin, 0)}) as gavel:`,
    `    verdict = gavel.${call}(`,
    ...fields,
    "    )",
    `    print(${shown})`,
  ].join("\n");
}

/** A value as Python writes it. Strings of JSON are strings of Python. */
function literal(value: unknown, indent: number): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = " ".repeat(indent + 4);
  if (Array.isArray(value)) {
    const items = value.map(item => `${inner}${literal(item, indent + 4)},`);
    return `[\n${items.join("\n")}\n${" ".repeat(indent)}]`;
  }
  const entries = Object.entries(value).map(([key, item]) => `${inner}${JSON.stringify(key)}: ${literal(item, indent + 4)},`);
  return `{\n${entries.join("\n")}\n${" ".repeat(indent)}}`;
}
