// How far judges are to be trusted: the reports that the server has, and those that are opened here.

import { useEffect, useState } from "preact/hooks";
import { getJson, Problem, send } from "../api";
import { usePoll } from "../hooks";
import { Copyable, Field, ProblemBox } from "../parts";
import { bytes, count } from "../text";
import type { Info } from "../types";
import { JudgeView } from "./judge";
import { RedteamView } from "./redteam";
import { type Origin, readReport, type Report } from "./report";
import { ServerJudges } from "./server_judges";

/** Milliseconds between two looks at the folder of the server. */
const PAUSE = 15_000;
/** The largest file that is opened, in bytes; that of the server, too. */
const LARGEST = 8 * 1024 * 1024;

/** A file of the server's folder. */
export interface Stored {
  name: string;
  bytes: number;
  modified_at: number | null;
  report: Report["object"] | null;
  judges: { name: string; model: (Origin & { engine: string }) | null; prompt: Origin | null }[];
  error: string | null;
}

/** A report that is opened from a file. */
interface Opened {
  name: string;
  report: Report;
}

type Choice = { stored: string } | { opened: Opened } | null;

export function TrustScreen({ active, info, key_changed }: { active: boolean; info: Info | null; key_changed: number }) {
  const look = (signal: AbortSignal) => getJson<{ data: Stored[]; left_out: number }>("/v1/reports", signal);
  const { data, problem, again } = usePoll(look, PAUSE, active);
  const [opened, setOpened] = useState<Opened[]>([]);
  const [wrong, setWrong] = useState<string[]>([]);
  const [chosen, setChosen] = useState<Choice>(null);
  // Models may have been loaded since the page was opened.
  const [fresh, setFresh] = useState<Info | null>(null);
  useEffect(() => {
    if (active) getJson<Info>("/v1/info").then(setFresh, () => undefined);
  }, [active, key_changed]);
  const take = async (files: FileList | null | undefined) => {
    const found: Opened[] = [];
    const refused: string[] = [];
    for (const file of files ?? []) {
      try {
        if (file.size > LARGEST) throw new Error(`It has ${bytes(file.size)}; a report has at most ${bytes(LARGEST)}.`);
        found.push({ name: file.name, report: readReport(await file.text()) });
      } catch (error) {
        refused.push(`${file.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    setWrong(refused);
    setOpened(before => [...before.filter(({ name }) => !found.some(other => other.name === name)), ...found]);
    const first = found[0];
    if (first) setChosen({ opened: first });
  };
  const stored = data?.data ?? [];
  const usable = stored.filter(({ report }) => report !== null);
  const first = usable.find(({ report }) => report === "agreement") ?? usable[0];
  const current: Choice = chosen ?? (first ? { stored: first.name } : null);
  const isChosen = (name: string, report?: Report) =>
    current !== null && ("opened" in current ? current.opened.report === report : report === undefined && current.stored === name);
  const entry = current && "stored" in current ? stored.find(({ name }) => name === current.stored) : undefined;
  const shown = fresh ?? info;
  return (
    <>
      <ProblemBox problem={problem} again={again} />
      {shown && data && <ServerJudges info={shown} stored={usable} open={name => setChosen({ stored: name })} />}
      <section aria-labelledby="reports">
        <h2 id="reports">Reports</h2>
        <div class="card" onDragOver={event => event.preventDefault()} onDrop={event => { event.preventDefault(); void take(event.dataTransfer?.files); }}>
          <Field label="Open reports" hint={<>What <code>gavel agree --json</code> or <code>gavel redteam --json</code> has printed. They are read in this browser and sent nowhere.</>}>
            <input type="file" accept=".json" multiple onChange={e => void take(e.currentTarget.files)} />
          </Field>
          {wrong.map(text => <p key={text} class="wrong text" role="alert">{text}</p>)}
          <p class="row" role="group" aria-label="Reports">
            {usable.map(({ name, report }) => (
              <button key={name} type="button" aria-pressed={isChosen(name)} onClick={() => setChosen({ stored: name })}>{name} ({report})</button>
            ))}
            {opened.map(({ name, report }) => (
              <button key={name} type="button" aria-pressed={isChosen(name, report)} onClick={() => setChosen({ opened: { name, report } })}>{name} ({report.object}, opened here)</button>
            ))}
          </p>
          {stored.filter(({ error }) => error !== null).map(({ name, error }) => <p key={name} class="wrong text">The server’s file {name}.json is no report: {error}.</p>)}
          {data !== null && data.left_out > 0 && <p class="wrong">The server has {count(data.left_out)} more files, which are not listed.</p>}
        </div>
        {data && !current && <WhatToRun />}
        {current && "opened" in current && <ReportView report={current.opened.report} info={shown} />}
        {entry && <StoredReport key={`${entry.name} ${entry.modified_at} ${entry.bytes}`} name={entry.name} info={shown} />}
        {data && current && "stored" in current && !entry && <p class="wrong" role="alert">The report {current.stored} is not on the server any more.</p>}
      </section>
    </>
  );
}

function StoredReport({ name, info }: { name: string; info: Info | null }) {
  const [report, setReport] = useState<Report | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const load = () => {
    setProblem(null);
    const read = async () => readReport(await (await send(`/v1/reports/${encodeURIComponent(name)}`)).text());
    read().then(setReport, error => setProblem(Problem.from(error)));
  };
  useEffect(load, [name]);
  return (
    <>
      <ProblemBox problem={problem} again={load} />
      {report && <ReportView report={report} info={info} />}
    </>
  );
}

function ReportView({ report, info }: { report: Report; info: Info | null }) {
  const { version, data } = report;
  const unlabelled = data.reduce((sum, file) => sum + file.unlabelled, 0);
  const files = data.map(({ path, items }) => `${path} (${count(items)} items)`).join(", ");
  return (
    <>
      <p class="faint">
        Gavel {version}, on {files || "no file"}
        {report.object === "agreement" && report.split && `, the ${report.split} half of the instructions`}
        {report.object === "agreement" && report.sample !== null && `, a sample of ${count(report.sample)}`}
        {unlabelled > 0 && `; ${count(unlabelled)} items without a label are left out`}.
        {report.object === "agreement" && ` Intervals: 95 %, of ${count(report.resamples)} bootstrap samples over instructions.`}
      </p>
      {report.object === "redteam"
        ? <RedteamView report={report} info={info} />
        : report.judges.map(judge => <JudgeView key={judge.name} judge={judge} labels={report.labels} info={info} />)}
    </>
  );
}

const COMMANDS = `# How far the judge agrees with people, on items that people have labelled:
gavel agree --server SERVER --data labels.jsonl --json > agreement.json
# How far attacks in the judged text move its reward:
gavel redteam --server SERVER --data labels.jsonl --json > redteam.json
# So that this screen shows them to everybody, the operator of the server stores them:
mkdir -p DATA_DIR/reports && cp agreement.json redteam.json DATA_DIR/reports/`;

function WhatToRun() {
  return (
    <div class="card">
      <h3>There is no report yet</h3>
      <p>Without one, nothing says how far a verdict is to be trusted. These commands make reports; open them above, or store them on the server.</p>
      <Copyable label="Commands" text={COMMANDS.replaceAll("SERVER", location.origin)} />
      <p class="hint"><a href="/docs/agreement">Formats of labelled items, and what each figure means</a></p>
    </div>
  );
}
