// A rubric as a form: its criterion, and a description for each score of its scale.

import { useState } from "preact/hooks";
import { json, Problem, send } from "./api";
import { Field, ProblemBox } from "./parts";
import type { Rubric, RubricText } from "./types";

/** The scores of a rubric in order, with their descriptions. */
export function levels(rubric: RubricText): [number, string][] {
  const found = Object.entries(rubric.descriptions).map(([score, text]): [number, string] => [Number(score), text]);
  return found.sort((a, b) => a[0] - b[0]);
}

export const NEW_RUBRIC: RubricText = { criterion: "", descriptions: { 1: "", 2: "", 3: "", 4: "", 5: "" } };

/** What is missing, in the order of the form; the server checks again. */
function missing(rubric: RubricText): string[] {
  const found = rubric.criterion.trim() ? [] : ["The criterion is empty: ask one question about the response."];
  for (const [score, text] of levels(rubric)) {
    if (!text.trim()) found.push(`Score ${score} has no description.`);
  }
  return found;
}

export function RubricForm({ rubric, change }: { rubric: RubricText; change: (rubric: RubricText) => void }) {
  const scale = levels(rubric);
  const [lowest, highest] = [scale[0]?.[0] ?? 1, scale.at(-1)?.[0] ?? 1];
  const described = (score: number, text: string) =>
    change({ ...rubric, descriptions: { ...rubric.descriptions, [score]: text } });
  const without = (score: number) => {
    const descriptions = Object.fromEntries(Object.entries(rubric.descriptions).filter(([key]) => Number(key) !== score));
    change({ ...rubric, descriptions });
  };
  const problems = missing(rubric);
  return (
    <div class="rubric-form">
      <Field label="Criterion" hint="One question about the response.">
        <textarea rows={2} value={rubric.criterion} onInput={e => change({ ...rubric, criterion: e.currentTarget.value })} />
      </Field>
      {scale.map(([score, text]) => (
        <Field key={score} label={`Score ${score}`}>
          <textarea rows={2} value={text} onInput={e => described(score, e.currentTarget.value)} />
        </Field>
      ))}
      <p class="row">
        <button type="button" disabled={scale.length > 10 || lowest === 0} onClick={() => described(lowest - 1, "")}>
          Add score {lowest - 1}
        </button>
        <button type="button" disabled={scale.length > 10} onClick={() => described(highest + 1, "")}>Add score {highest + 1}</button>
        <button type="button" disabled={scale.length < 3} onClick={() => without(highest)}>Remove score {highest}</button>
      </p>
      {problems.length > 0 && <ul class="wrong">{problems.map(text => <li key={text}>{text}</li>)}</ul>}
    </div>
  );
}

/** Saves a rubric under a name, which replaces the one that has it. */
export function SaveRubric({ rubric, name, saved }: { rubric: RubricText; name: string; saved: (rubric: Rubric) => void }) {
  const [as, setAs] = useState(name);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [said, say] = useState("");
  const store = async () => {
    setProblem(null);
    say("");
    try {
      const response = await send(`/v1/rubrics/${encodeURIComponent(as)}`, json("PUT", rubric));
      const stored: Rubric = await response.json();
      say(`Saved as ${stored.name}.`);
      saved(stored);
    } catch (error) {
      setProblem(Problem.from(error));
    }
  };
  return (
    <div>
      <p class="row">
        <label class="inline">Name <input value={as} onInput={e => setAs(e.currentTarget.value)} /></label>
        <button type="button" disabled={!as.trim()} onClick={() => void store()}>Save on the server</button>
        <span role="status">{said}</span>
      </p>
      <ProblemBox problem={problem} />
    </div>
  );
}
