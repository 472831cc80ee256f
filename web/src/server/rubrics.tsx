// The rubric library, and its editor.

import { useEffect, useRef, useState } from "preact/hooks";
import { getJson, Problem, send } from "../api";
import { ProblemBox } from "../parts";
import { NEW_RUBRIC, RubricForm, SaveRubric } from "../rubric_editor";
import { scale } from "../text";
import type { Rubric, RubricText } from "../types";

interface Edited {
  name: string;
  rubric: RubricText;
  own: boolean;
}

export function Rubrics({ active, key_changed }: { active: boolean; key_changed: number }) {
  const [rubrics, setRubrics] = useState<Rubric[]>([]);
  const [edited, setEdited] = useState<Edited | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const editor = useRef<HTMLHeadingElement>(null);
  const load = async () => {
    try {
      setRubrics((await getJson<{ data: Rubric[] }>("/v1/rubrics")).data);
      setProblem(null);
    } catch (error) {
      setProblem(Problem.from(error));
    }
  };
  useEffect(() => {
    if (active) void load();
  }, [active, key_changed]);
  const name = edited?.name;
  useEffect(() => editor.current?.focus(), [name]);
  const edit = (rubric: Rubric) => {
    const { criterion, descriptions, built_in } = rubric;
    setEdited({ name: rubric.name, rubric: { criterion, descriptions }, own: !built_in });
  };
  const remove = async (name: string) => {
    try {
      await send(`/v1/rubrics/${encodeURIComponent(name)}`, { method: "DELETE" });
      setEdited(null);
      await load();
    } catch (error) {
      setProblem(Problem.from(error));
    }
  };
  return (
    <section aria-labelledby="rubrics">
      <h2 id="rubrics">Rubrics</h2>
      <ProblemBox problem={problem} again={() => void load()} />
      <div class="scroll" tabIndex={0} role="region" aria-label="Table of rubrics">
        <table>
          <thead><tr><th>Name</th><th>Scale</th><th>Criterion</th><th>Source</th></tr></thead>
          <tbody>
            {rubrics.map(rubric => (
              <tr key={rubric.name}>
                <th scope="row"><button type="button" class="link" onClick={() => edit(rubric)}>{rubric.name}</button></th>
                <td>{scale(rubric.descriptions)}</td>
                <td>{rubric.criterion}</td>
                <td>{rubric.built_in ? "built in" : "your own"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p><button type="button" onClick={() => setEdited({ name: "", rubric: NEW_RUBRIC, own: false })}>New rubric</button></p>
      {edited && (
        <div class="card">
          <h3 ref={editor} tabIndex={-1}>{edited.name || "New rubric"}</h3>
          <p class="hint">
            Verdicts name the digest of their rubric, so a changed rubric is a new one to them.{" "}
            <a href="/docs/rubrics#how-to-write-a-good-rubric">How to write a good rubric</a>
          </p>
          <RubricForm rubric={edited.rubric} change={rubric => setEdited({ ...edited, rubric })} />
          <SaveRubric key={edited.name} rubric={edited.rubric} name={edited.name} saved={() => void load()} />
          <p class="row">
            <button type="button" onClick={() => setEdited(null)}>Close</button>
            {edited.own && <button type="button" onClick={() => void remove(edited.name)}>Delete {edited.name}</button>}
          </p>
        </div>
      )}
    </section>
  );
}
