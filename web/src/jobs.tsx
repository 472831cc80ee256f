// Batches: their progress, their results, and new ones.

import { useRef, useState } from "preact/hooks";
import { getJson, json, Problem, randomKey, send } from "./api";
import { usePoll } from "./hooks";
import { Field, ProblemBox, save } from "./parts";
import { bytes, count } from "./text";
import type { Batch } from "./types";

const ENDED = ["completed", "failed", "expired", "cancelled"];
/** Milliseconds between two looks at the batches. */
const PAUSE = 1500;
/** Batches on a page. */
const PAGE = 20;

interface Page {
  data: Batch[];
  has_more: boolean;
}

function look(after: string, signal: AbortSignal): Promise<Page> {
  const from = after && `&after=${encodeURIComponent(after)}`;
  return getJson(`/v1/batches?limit=${PAGE}${from}`, signal);
}

export function Jobs({ active, openRun }: { active: boolean; openRun: (file: File) => void }) {
  const [after, setAfter] = useState<string[]>([]);
  const { data, problem, again } = usePoll(signal => look(after.at(-1) ?? "", signal), PAUSE, active);
  const to = (after: string[]) => {
    setAfter(after);
    again();
  };
  const last = data?.data.at(-1)?.id;
  return (
    <>
      <Submit submitted={again} />
      <ProblemBox problem={problem} again={again} />
      {data?.data.length === 0 && <p class="hint">There are no batches yet.</p>}
      {data?.data.map(batch => <BatchCard key={batch.id} batch={batch} changed={again} openRun={openRun} />)}
      <p class="row">
        {after.length > 0 && <button type="button" onClick={() => to(after.slice(0, -1))}>Newer</button>}
        {data?.has_more && last && <button type="button" onClick={() => to([...after, last])}>Older</button>}
      </p>
    </>
  );
}

function BatchCard({ batch, changed, openRun }: { batch: Batch; changed: () => void; openRun: (file: File) => void }) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const attempt = async (work: () => Promise<void>) => {
    setBusy(true);
    setProblem(null);
    try {
      await work();
    } catch (error) {
      setProblem(Problem.from(error));
    }
    setBusy(false);
  };
  const cancel = async () => {
    await send(`/v1/batches/${encodeURIComponent(batch.id)}/cancel`, { method: "POST" });
    changed();
  };
  const fetchFile = async (id: string) => (await send(`/v1/files/${encodeURIComponent(id)}/content`)).blob();
  const output = batch.output_file_id;
  const errors = batch.error_file_id;
  const { total, completed, failed } = batch.request_counts;
  const ended = ENDED.includes(batch.status);
  return (
    <article class="card">
      <h3 class="row"><span class="name">{batch.id}</span> <span class={`state ${batch.status}`}>{batch.status}</span></h3>
      <p class="faint">
        {new Date(batch.created_at * 1000).toLocaleString()} {batch.endpoint}
        {!ended && batch.seconds_left !== undefined && `, ${count(batch.seconds_left)} s left`}
      </p>
      <p class="row">
        <progress aria-label={`Lines of ${batch.id}`} max={Math.max(total, 1)} value={completed + failed} />
        <span>{count(completed + failed)} of {count(total)} lines{failed > 0 && `, ${count(failed)} with an error`}</span>
      </p>
      {batch.errors && (
        <ul class="wrong">
          {batch.errors.data.map((error, i) => <li key={i} class="text">{error.line !== null && `Line ${error.line}: `}{error.message}</li>)}
        </ul>
      )}
      <p class="row">
        {!ended && batch.status !== "cancelling" && <button type="button" disabled={busy} onClick={() => void attempt(cancel)}>Cancel</button>}
        {output && (
          <>
            <button type="button" disabled={busy} onClick={() => void attempt(async () => save(await fetchFile(output), `${batch.id}.jsonl`))}>Download results</button>
            <button type="button" disabled={busy} onClick={() => void attempt(async () => openRun(new File([await fetchFile(output)], `${batch.id}.jsonl`)))}>Open in Runs</button>
          </>
        )}
        {errors && <button type="button" disabled={busy} onClick={() => void attempt(async () => save(await fetchFile(errors), `${batch.id}-errors.jsonl`))}>Download errors</button>}
      </p>
      <ProblemBox problem={problem} />
    </article>
  );
}

function Submit({ submitted }: { submitted: () => void }) {
  const [file, setFile] = useState<File | null>(null);
  const [days, setDays] = useState("24h");
  const [said, say] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  /** Until it is submitted, another attempt with the same file is the same request, so that nothing is made twice. */
  const attempt = useRef<{ file: File; days: string; key: string } | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (!file) return say("Choose a file first.");
    setBusy(true);
    setProblem(null);
    say(`Uploading ${bytes(file.size)}…`);
    if (attempt.current?.file !== file || attempt.current.days !== days) attempt.current = { file, days, key: randomKey() };
    const { key } = attempt.current;
    try {
      const form = new FormData();
      form.append("purpose", "batch");
      form.append("file", file);
      const headers = { "Idempotency-Key": `${key}-file` };
      const uploaded: { id: string } = await (await send("/v1/files", { method: "POST", body: form, headers })).json();
      const wanted = json("POST", { input_file_id: uploaded.id, completion_window: days });
      const made = await send("/v1/batches", { ...wanted, headers: { ...wanted.headers, "Idempotency-Key": `${key}-batch` } });
      const batch: Batch = await made.json();
      say(`${batch.id} is submitted.`);
      attempt.current = null;
      submitted();
    } catch (error) {
      say("");
      setProblem(Problem.from(error));
    }
    setBusy(false);
  };
  return (
    <form class="card" onSubmit={event => void submit(event)}>
      <div class="two">
        <Field label="A file of requests" hint="JSON lines with custom_id, method, url and body.">
          <input type="file" accept=".jsonl" onChange={e => setFile(e.currentTarget.files?.[0] ?? null)} />
        </Field>
        <Field label="Time that it may take" hint="Lines that are left then have no answer.">
          <select value={days} onChange={e => setDays(e.currentTarget.value)}>
            {["1h", "24h", "7d", "30d"].map(window => <option key={window}>{window}</option>)}
          </select>
        </Field>
      </div>
      <p class="row">
        <button type="submit" class="primary" disabled={busy}>Upload and submit</button>
        <a href="/docs/batches">What a line has</a>
        <span role="status">{said}</span>
      </p>
      <ProblemBox problem={problem} />
    </form>
  );
}
