// What a reviewer judges: the texts of a request, and the rubric. Nothing of a judge is in it.

import { answers, asked, named, type Part } from "../conversation";
import { Content, pieces } from "../pictures";
import { levels } from "../rubric_editor";
import type { Review } from "./queue";

/** A text that is judged; each paragraph has its own direction. */
export function Judged({ name, content }: Omit<Part, "field">) {
  return (
    <section class="judged">
      <h3 class="minor">{name}</h3>
      {content.length > 0
        ? <div class="reading" dir="auto" tabIndex={0} role="region" aria-label={name}><Content of={content} name={name} /></div>
        : <p class="hint">It is empty.</p>}
    </section>
  );
}

export function ItemTexts({ review }: { review: Review }) {
  const { request, rubrics } = review;
  const beside = [...documents(request.context), ...named(request, [["reference_answer", "Reference answer"]])];
  const persona = named(request, [["annotator", "Judge as this person"]]);
  return (
    <>
      {[...asked(request), ...persona, ...beside].map((part, at) => <Judged key={at} {...part} />)}
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
        {answers(request).map(part => <Judged key={part.name} {...part} />)}
      </div>
    </>
  );
}

function documents(context: unknown): Part[] {
  if (!Array.isArray(context)) return [];
  return context.map((document, at) => ({
    field: `context/${at}`,
    name: `Document ${typeof document?.id === "string" ? document.id : at + 1}`,
    content: pieces(document?.text ?? document),
  }));
}
