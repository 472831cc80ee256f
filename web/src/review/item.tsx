// What a reviewer judges: the texts of a request, and the rubric. Nothing of a judge is in it.

import { levels } from "../rubric_editor";
import type { Review } from "./queue";

interface Part {
  name: string;
  text: string;
}

/** A text that is judged; each paragraph has its own direction. */
export function Judged({ name, text }: Part) {
  return (
    <section class="judged">
      <h3 class="minor">{name}</h3>
      {text ? <div class="reading" dir="auto" tabIndex={0} role="region" aria-label={name}>{text}</div> : <p class="hint">It is empty.</p>}
    </section>
  );
}

export function ItemTexts({ review }: { review: Review }) {
  const { request, rubrics } = review;
  const named = (field: string, name: string): Part[] => (typeof request[field] === "string" ? [{ name, text: request[field] }] : []);
  const asked = [...named("instruction", "Instruction"), ...conversation(request.messages)];
  const beside = [...documents(request.context), ...named("reference_answer", "Reference answer")];
  const persona = named("annotator", "Judge as this person");
  return (
    <>
      {[...asked, ...persona, ...beside].map((part, at) => <Judged key={at} {...part} />)}
      {rubrics.map((rubric, at) => (
        <details key={at} open={at === 0 && review.kind === "absolute"}>
          <summary>Rubric{rubric.name !== "inline" && ` ${rubric.name}`}: <span dir="auto">{rubric.criterion}</span></summary>
          <dl class="levels">
            {levels(rubric).map(([score, text]) => <div key={score}><dt>{score}</dt><dd dir="auto">{text}</dd></div>)}
          </dl>
        </details>
      ))}
      {rubrics.length > 1 && review.kind === "absolute" && (
        <p class="hint">Label by the first rubric; the judge has {rubrics.length}.</p>
      )}
      <div class={review.kind === "relative" ? "split" : undefined}>
        {[...named("response", "Response"), ...named("response_a", "Response A"), ...named("response_b", "Response B")].map(part => (
          <Judged key={part.name} {...part} />
        ))}
      </div>
    </>
  );
}

function conversation(messages: unknown): Part[] {
  if (!Array.isArray(messages)) return [];
  return messages.map((message, at) => ({
    name: `${message?.role ?? "message"}, turn ${at + 1} of ${messages.length}`,
    text: [content(message?.content), message?.tool_calls && pretty(message.tool_calls)].filter(Boolean).join("\n"),
  }));
}

/** The text of a message. Parts that are no text are named, so that nobody labels without knowing of them. */
function content(of: unknown): string {
  if (typeof of === "string") return of;
  if (!Array.isArray(of)) return of === null || of === undefined ? "" : pretty(of);
  const part = (part: any) =>
    typeof part?.text === "string" ? part.text : `[A part of the kind “${String(part?.type)}”, which this page does not show: skip the item if it matters.]`;
  return of.map(part).join("\n");
}

function documents(context: unknown): Part[] {
  if (!Array.isArray(context)) return [];
  return context.map((document, at) => ({
    name: `Document ${typeof document?.id === "string" ? document.id : at + 1}`,
    text: typeof document?.text === "string" ? document.text : pretty(document),
  }));
}

function pretty(value: unknown): string {
  return JSON.stringify(value, null, 2);
}
