// The parts of a request that people read, by the names that they have on the page.

import { type Piece, pieces } from "./pictures";

export interface Part {
  field: string;
  name: string;
  content: Piece[];
}

const INSTRUCTION = [["instruction", "Instruction"]] as const;
const RESPONSES = [["response", "Response"], ["response_a", "Response A"], ["response_b", "Response B"]] as const;

/** What was asked: the instruction, or the turns of a conversation. */
export function asked(request: Record<string, unknown>): Part[] {
  return [...named(request, INSTRUCTION), ...turns(request.messages)];
}

/** What was answered. */
export function answers(request: Record<string, unknown>): Part[] {
  return named(request, RESPONSES);
}

/** Fields that are texts or lists of parts. */
export function named(request: Record<string, unknown>, fields: readonly (readonly [string, string])[]): Part[] {
  const is = (value: unknown) => typeof value === "string" || Array.isArray(value);
  return fields.flatMap(([field, name]) => (is(request[field]) ? [{ field, name, content: pieces(request[field]) }] : []));
}

function turns(messages: unknown): Part[] {
  if (!Array.isArray(messages)) return [];
  return messages.map((message, at) => ({
    field: `messages/${at}`,
    name: `${message?.role ?? "message"}, turn ${at + 1} of ${messages.length}`,
    content: [...pieces(message?.content), ...calls(message?.tool_calls)],
  }));
}

function calls(of: unknown): Piece[] {
  return of ? [{ text: JSON.stringify(of, null, 2) }] : [];
}

/** The text of a part, as prompts have it. */
export function textOf(part: Part): string {
  return part.content.flatMap(piece => ("text" in piece ? [piece.text] : [])).join("\n");
}

/** How many pictures the parts have. */
export function picturesIn(parts: Part[]): number {
  return parts.flatMap(part => part.content).filter(piece => "picture" in piece).length;
}
