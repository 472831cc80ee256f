// A request by hand: a form, the feedback as it is written, and the verdict.

import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { getJson, Problem } from "../api";
import { Copyable, Field, ProblemBox } from "../parts";
import { levels, RubricForm, SaveRubric } from "../rubric_editor";
import type { Info, Rubric, Verdict } from "../types";
import { Attach } from "./attach";
import { DebugView } from "./debug";
import { body, countPictures, type Draft, EMPTY, fromLink, link, path, type PicturesField } from "./request";
import { asCurl, asJson, asPython } from "./snippets";
import { judge, type Written } from "./stream";
import { VerdictView } from "./verdict";

const FORMS = { curl: asCurl, Python: asPython, JSON: asJson };

export function Playground({ info, linked, key_changed }: { info: Info | null; linked: string; key_changed: number }) {
  const [draft, setDraft] = useState<Draft>(EMPTY);
  const [rubrics, setRubrics] = useState<Rubric[]>([]);
  const [problem, setProblem] = useState<Problem | null>(null);
  const change: Change = part => setDraft(draft => ({ ...draft, ...(typeof part === "function" ? part(draft) : part) }));

  const load = () => {
    getJson<{ data: Rubric[] }>("/v1/rubrics").then(
      found => setRubrics(found.data),
      error => setProblem(Problem.from(error)),
    );
  };
  useEffect(load, [key_changed]);
  useEffect(() => {
    if (!linked) return;
    try {
      setDraft(fromLink(linked));
    } catch (error) {
      setProblem(new Problem(0, "The link holds no request", `${Problem.from(error).detail}; ask for it again, or fill in the form`));
    }
  }, [linked]);

  return (
    <div class="split">
      <Form draft={draft} change={change} rubrics={rubrics} info={info} reload={load} />
      <div>
        <ProblemBox problem={problem} />
        <Judging draft={draft} />
        <Taking draft={draft} />
      </div>
    </div>
  );
}

/** Changes a part of the draft, which may depend on the draft as it then is. */
type Change = (part: Partial<Draft> | ((draft: Draft) => Partial<Draft>)) => void;

interface FormProps {
  draft: Draft;
  change: Change;
  rubrics: Rubric[];
  info: Info | null;
  reload: () => void;
}

function Form({ draft, change, rubrics, info, reload }: FormProps) {
  const text = (name: "instruction" | "response" | "other" | "reference", label: string, rows: number, hint?: string) => (
    <Field label={label} hint={hint}>
      <textarea dir="auto" rows={rows} value={draft[name]} onInput={e => change({ [name]: e.currentTarget.value })} />
    </Field>
  );
  const shown = (name: PicturesField, of: string, field: VNode) => (
    <Attach of={of} pictures={draft[name]} set={edit => change(draft => ({ [name]: edit(draft[name]) }))}>{field}</Attach>
  );
  return (
    <div class="card">
      <fieldset class="row choice">
        <legend>Judge</legend>
        <label><input type="radio" name="kind" checked={!draft.pair} onChange={() => change({ pair: false })} /> one response</label>
        <label><input type="radio" name="kind" checked={draft.pair} onChange={() => change({ pair: true })} /> two responses</label>
      </fieldset>
      {shown("pictures", "instruction", text("instruction", "Instruction", 3))}
      {shown("response_pictures", draft.pair ? "response A" : "response", text("response", draft.pair ? "Response A" : "Response", 4))}
      {draft.pair && shown("other_pictures", "response B", text("other", "Response B", 4))}
      {text("reference", "Reference answer", 2, "Not required: an answer that would get the highest score.")}
      <RubricChoice draft={draft} change={change} rubrics={rubrics} reload={reload} />
      <Settings draft={draft} change={change} info={info} />
    </div>
  );
}

function RubricChoice({ draft, change, rubrics, reload }: Omit<FormProps, "info">) {
  const known = rubrics.find(rubric => rubric.name === draft.rubric);
  if (draft.inline) {
    const saved = (rubric: Rubric) => {
      change({ rubric: rubric.name, inline: null });
      reload();
    };
    return (
      <fieldset>
        <legend>Rubric, as edited here</legend>
        <RubricForm rubric={draft.inline} change={inline => change({ inline })} />
        <SaveRubric rubric={draft.inline} name={draft.rubric} saved={saved} />
        <p><button type="button" onClick={() => change({ inline: null })}>Back to the library</button></p>
      </fieldset>
    );
  }
  const names = known || rubrics.length === 0 ? rubrics.map(rubric => rubric.name) : [draft.rubric, ...rubrics.map(rubric => rubric.name)];
  return (
    <>
      <Field label="Rubric">
        <select value={draft.rubric} onChange={e => change({ rubric: e.currentTarget.value })}>
          {names.map(name => <option key={name}>{name}</option>)}
        </select>
      </Field>
      {known && (
        <details>
          <summary>{known.criterion}</summary>
          <dl class="levels">
            {levels(known).map(([score, text]) => <div key={score}><dt>{score}</dt><dd>{text}</dd></div>)}
          </dl>
          <p>
            <button type="button" onClick={() => change({ inline: { criterion: known.criterion, descriptions: known.descriptions } })}>
              Edit for this request
            </button>
          </p>
        </details>
      )}
    </>
  );
}

function Settings({ draft, change, info }: Pick<FormProps, "draft" | "change" | "info">) {
  return (
    <>
      <div class="two">
        <Field label="Model">
          <select value={draft.model} onChange={e => change({ model: e.currentTarget.value })}>
            <option value="">the server's default</option>
            {info?.models.map(model => <option key={model.name}>{model.name}</option>)}
          </select>
        </Field>
        <Field label="Mode">
          <select value={draft.mode} onChange={e => change({ mode: e.currentTarget.value as Draft["mode"] })}>
            <option value="feedback">feedback, then the score</option>
            <option value="score">the score alone</option>
          </select>
        </Field>
      </div>
      <details>
        <summary>More settings</summary>
        <div class="two">
          <Field label="Prompt set">
            <select value={draft.prompt} onChange={e => change({ prompt: e.currentTarget.value })}>
              <option value="">the model's own</option>
              {info?.prompts.map(name => <option key={name}>{name}</option>)}
            </select>
          </Field>
          {draft.pair && (
            <Field label="Method">
              <select value={draft.method} onChange={e => change({ method: e.currentTarget.value as Draft["method"] })}>
                <option value="">the model's own</option>
                <option value="pairwise">both in one prompt</option>
                <option value="absolute">each graded alone</option>
              </select>
            </Field>
          )}
          <NumberField label="Samples" value={draft.samples} step={1} least={1} set={samples => change({ samples })} />
          <NumberField label="Temperature" value={draft.temperature} step={0.1} least={0} set={temperature => change({ temperature })} />
          <NumberField label="Seed" value={draft.seed} step={1} least={0} set={seed => change({ seed })} />
        </div>
      </details>
      <p>
        <label><input type="checkbox" checked={draft.debug} onChange={e => change({ debug: e.currentTarget.checked })} /> debug: show what the model is given</label>
      </p>
    </>
  );
}

function NumberField(props: { label: string; value: number; step: number; least: number; set: (value: number) => void }) {
  return (
    <Field label={props.label}>
      <input
        type="number"
        min={props.least}
        step={props.step}
        value={props.value}
        onInput={e => Number.isFinite(e.currentTarget.valueAsNumber) && props.set(e.currentTarget.valueAsNumber)}
      />
    </Field>
  );
}

/** A verdict, and the request that it answers. */
interface Answered {
  verdict: Verdict;
  draft: Draft;
}

function Judging({ draft }: { draft: Draft }) {
  const running = useRef<AbortController | null>(null);
  const [busy, setBusy] = useState(false);
  const [written, setWritten] = useState<Written>(new Map());
  const [answered, setAnswered] = useState<Answered | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const run = async () => {
    const stop = new AbortController();
    running.current = stop;
    setBusy(true);
    setWritten(new Map());
    setAnswered(null);
    setProblem(null);
    try {
      setAnswered({ verdict: await judge(path(draft), body(draft), setWritten, stop.signal), draft });
    } catch (error) {
      if (!stop.signal.aborted) setProblem(Problem.from(error));
    }
    setBusy(false);
  };
  const said = busy ? "The judge is at work." : answered ? "The verdict is here." : "";
  return (
    <section class="card" aria-label="Verdict">
      <p class="row">
        <button type="button" class="primary" disabled={busy} onClick={() => void run()}>Judge</button>
        {busy && <button type="button" onClick={() => running.current?.abort()}>Stop</button>}
        <span role="status">{said}</span>
      </p>
      <ProblemBox problem={problem} />
      {!answered && [...written].map(([heading, text]) => (
        <section key={heading} class="written">
          <h3>{heading}</h3>
          <blockquote class="text" dir="auto">{text}</blockquote>
        </section>
      ))}
      {answered && <VerdictView verdict={answered.verdict} sent={countPictures(answered.draft)} />}
      {answered?.verdict.debug && <DebugView debug={answered.verdict.debug} texts={judged(answered.draft)} />}
      {!busy && !answered && !problem && written.size === 0 && (
        <p class="hint">Fill in an instruction and a response, then let the judge work. Nothing is sent before.</p>
      )}
    </section>
  );
}

/** The texts under judgement by the names that their fields have; the longest first, as one may hold another. */
function judged(draft: Draft): Record<string, string> {
  const { instruction, response, other, reference } = draft;
  const texts = draft.pair ? { response_a: response, response_b: other } : { response };
  const all = Object.entries({ instruction, ...texts, reference_answer: reference });
  return Object.fromEntries(all.sort((a, b) => b[1].length - a[1].length));
}

/** The request for other programs, and as a link. */
function Taking({ draft }: { draft: Draft }) {
  const [form, setForm] = useState<keyof typeof FORMS | "Link" | null>(null);
  const linked = form === "Link" ? link(draft) : null;
  return (
    <section class="card" aria-label="Take the request along">
      <p class="row">
        Copy as
        {([...Object.keys(FORMS), "Link"] as const).map(name => (
          <button key={name} type="button" aria-pressed={form === name} onClick={() => setForm(form === name ? null : (name as typeof form))}>{name}</button>
        ))}
      </p>
      {form === "Link" && (linked
        ? <Copyable text={`${location.origin}/${linked.address}`} label="Link" />
        : <p class="wrong">The texts are too long for a link. Copy the request as JSON.</p>)}
      {linked?.without && <p class="wrong">The link is without the pictures, which are too large for it. Copy the request as JSON to keep them.</p>}
      {form && form !== "Link" && <Copyable text={FORMS[form](draft)} label={form} />}
    </section>
  );
}
