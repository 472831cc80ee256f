import { useRef } from "preact/hooks";
import type { Debug } from "../types";
import { pieces } from "./marks";

const NAMES: Record<string, string> = {
  instruction: "the instruction",
  response: "the response",
  response_a: "response A",
  response_b: "response B",
  reference_answer: "the reference answer",
};

/** What the model was given, with the caller's texts marked, and all that it answered. */
export function DebugView({ debug, texts }: { debug: Debug; texts: Record<string, string> }) {
  const { neutralized } = debug;
  const prompt = useRef<HTMLPreElement>(null);
  const showMarks = () => {
    const mark = prompt.current?.querySelector("mark");
    // The prompt set's own words before it may be many.
    if (prompt.current && mark) prompt.current.scrollTop = Math.max(0, mark.offsetTop - prompt.current.offsetTop - 60);
  };
  return (
    <details class="debug" onToggle={showMarks}>
      <summary>What the model was given</summary>
      <p class="hint">
        <mark>Marked</mark>: your texts. <mark class="neutralized">Underlined</mark>: markers in them that were changed, so
        that they cannot be taken for the prompt's own.
      </p>
      <pre ref={prompt} tabIndex={0} role="region" aria-label="The prompt" dir="auto">
        {pieces(debug, texts).map((piece, i) =>
          piece.field ? (
            <mark key={i} class={piece.neutralized ? "neutralized" : ""} title={NAMES[piece.field] ?? piece.field}>{piece.text}</mark>
          ) : (
            piece.text
          ),
        )}
      </pre>
      {neutralized.length > 0 && (
        <>
          <h3 class="minor">Changed in your texts</h3>
          <ul>
            {neutralized.map((change, i) => (
              <li key={i}>
                <code>{change.text}</code> in {NAMES[change.field] ?? change.field}, characters {change.start} to {change.end}
              </li>
            ))}
          </ul>
        </>
      )}
      <h3 class="minor">What the model answered</h3>
      <pre tabIndex={0} role="region" aria-label="The answer" dir="auto">{debug.answer}</pre>
    </details>
  );
}
