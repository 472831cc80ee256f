// Results files, read in the browser: a list with filters, one item in full, and two runs side by side.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Field } from "../parts";
import { bytes, count, fixed } from "../text";
import { ItemView } from "./item";
import { List } from "./list";
import { open, type Run } from "./opened";
import { ALL, change, type Change, type Filter, histogram, type Item, isError, items, mean, passes, tenths } from "./pairs";
import type { Row } from "./result";

const NAMES = ["First run", "Second run"] as const;

/** `handed` is a file that another screen opens here. */
export function Runs({ handed }: { handed: File | null }) {
  const [runs, setRuns] = useState<[Run | null, Run | null]>([null, null]);
  const stops = useRef<[(() => void)?, (() => void)?]>([]);
  const set = (at: 0 | 1, run: Run | null) => setRuns(([a, b]) => (at === 0 ? [run, b] : [a, run]));
  const openAt = (at: 0 | 1, file: File | null) => {
    stops.current[at]?.();
    stops.current[at] = undefined;
    if (file) stops.current[at] = open(file, run => set(at, run));
    else set(at, null);
  };
  useEffect(() => {
    if (handed) openAt(0, handed);
  }, [handed]);
  const [first, second] = runs;
  return (
    <>
      <div class="two">
        <Chooser name={NAMES[0]} run={first} open={file => openAt(0, file)} />
        {first && <Chooser name={NAMES[1]} run={second} open={file => openAt(1, file)} />}
      </div>
      {!first && (
        <p class="hint">
          A file of <code>gavel grade --out results.jsonl</code> or of a batch. It is read in this browser and sent nowhere.
          With <code>--with-input</code>, the file has the judged texts too. A second file is compared with the first, item
          by item.
        </p>
      )}
      {first && first.rows.length > 0 && <Browser first={first} second={second && second.rows.length > 0 ? second : null} />}
    </>
  );
}

function Chooser({ name, run, open }: { name: string; run: Run | null; open: (file: File | null) => void }) {
  const drop = (event: DragEvent) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file) open(file);
  };
  return (
    <div class="card" onDragOver={event => event.preventDefault()} onDrop={drop}>
      <Field label={name}>
        <input type="file" accept=".jsonl,.ndjson,.json" onChange={e => open(e.currentTarget.files?.[0] ?? null)} />
      </Field>
      {run && <State run={run} close={() => open(null)} />}
    </div>
  );
}

function State({ run, close }: { run: Run; close: () => void }) {
  const { file, summary, failure, rows } = run;
  if (failure) return <p class="wrong text" role="alert">{file.name}: {failure}</p>;
  if (!summary) {
    return (
      <p class="row">
        <progress aria-label={`Reading ${file.name}`} max={file.size} value={run.read} />
        <span>{count(rows.length)} results, {bytes(run.read)} of {bytes(file.size)}</span>
        <button type="button" onClick={close}>Stop</button>
      </p>
    );
  }
  return (
    <>
      <p class="row" role="status">
        <span class="name">{file.name}</span> <span>{count(summary.rows)} results, {bytes(file.size)}</span>
        <button type="button" onClick={close}>Close</button>
      </p>
      {summary.cut && (
        <p class="wrong" role="alert">
          The file is cut off in its last line. What is before it is shown; <code>gavel grade</code> with the same command
          goes on where it stopped.
        </p>
      )}
      {summary.unreadable > (summary.cut ? 1 : 0) && (
        <p class="wrong">{count(summary.unreadable)} lines are no results; the filter “errors” shows them.</p>
      )}
    </>
  );
}

function Browser({ first, second }: { first: Run; second: Run | null }) {
  const [filter, setFilter] = useState<Filter>(ALL);
  const [choice, setChoice] = useState<Item | null>(null);
  const part = (part: Partial<Filter>) => setFilter(filter => ({ ...filter, ...part }));
  const [a, b] = [first.rows.length, second?.rows.length ?? 0];
  const all = useMemo(() => items(first.rows, second?.rows ?? null), [first.file, second?.file, a, b]);
  const shown = useMemo(() => all.filter(item => passes(item, filter, second !== null)), [all, filter, second !== null]);
  // The same item, also when the second run has come or gone meanwhile.
  const isChosen = ({ first, second }: Item) => (choice?.first ? first === choice.first : second === choice?.second);
  const chosen = useMemo(() => (choice && all.find(isChosen)) ?? null, [all, choice]);
  return (
    <>
      <Filters filter={filter} change={part} rows={second ? [...first.rows, ...second.rows] : first.rows} comparing={second !== null} />
      {second && <Comparison items={all} />}
      <div class="split runs">
        <div>
          <p role="status">{count(shown.length)} of {count(all.length)} items</p>
          <List items={shown} comparing={second !== null} chosen={chosen} choose={setChoice} />
          <Labels rows={shown.flatMap(item => item.first ?? [])} chosen={filter.label} choose={label => part({ label })} name="Labels of the items shown" />
          {second && <Labels rows={shown.flatMap(item => item.second ?? [])} chosen={filter.label} choose={label => part({ label })} name="In the second run" />}
          <Spreads rows={shown.flatMap(item => item.first ?? [])} />
        </div>
        <div>
          {!chosen && <p class="hint">Choose an item to see it in full. The arrow keys move through the list.</p>}
          {chosen?.first && <ItemView file={first.file} row={chosen.first} name={second ? NAMES[0] : "Item"} />}
          {second && chosen?.second && <ItemView file={second.file} row={chosen.second} name={NAMES[1]} />}
        </div>
      </div>
    </>
  );
}

interface FiltersProps {
  filter: Filter;
  change: (part: Partial<Filter>) => void;
  rows: Row[];
  comparing: boolean;
}

function Filters({ filter, change, rows, comparing }: FiltersProps) {
  const labels = useMemo(() => histogram(rows).map(([label]) => label), [rows.length]);
  const rubrics = useMemo(() => [...new Set(rows.map(row => row.rubric).filter(Boolean))].sort(), [rows.length]);
  const choice = (name: string, value: string, set: (value: string) => void, options: [string, string][]) => (
    <label class="inline">
      {name}{" "}
      <select value={value} onChange={e => set(e.currentTarget.value)}>
        {options.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
      </select>
    </label>
  );
  const plain = (values: string[]): [string, string][] => [["", "all"], ...values.map((value): [string, string] => [value, value])];
  return (
    <search class="row filters">
      <label class="inline">Id has <input type="search" value={filter.text} onInput={e => change({ text: e.currentTarget.value })} /></label>
      {choice("Label", filter.label, label => change({ label }), plain(labels))}
      {choice("Rubric", filter.rubric, rubric => change({ rubric }), plain(rubrics))}
      {choice("Show", filter.show, show => change({ show: show as Filter["show"] }), [
        ["", "all"],
        ["errors", "errors"],
        ["flips", "flips: the orders disagree"],
        ["low", "low label mass"],
      ])}
      {filter.show === "low" && (
        <label class="inline">
          below{" "}
          <input type="number" min={0} max={1} step={0.05} value={filter.mass}
            onInput={e => Number.isFinite(e.currentTarget.valueAsNumber) && change({ mass: e.currentTarget.valueAsNumber })} />
        </label>
      )}
      {comparing && choice("Change", filter.change, value => change({ change: value as Filter["change"] }), plain(CHANGES))}
    </search>
  );
}

const CHANGES: Change[] = ["up", "down", "flipped", "same", "error", "first only", "second only"];

/** How many items have each label; each is a button that filters by it. */
function Labels({ rows, chosen, choose, name }: { rows: Row[]; chosen: string; choose: (label: string) => void; name: string }) {
  const counts = useMemo(() => histogram(rows), [rows]);
  const most = Math.max(...counts.map(([, n]) => n), 1);
  const reward = mean(rows, row => row.reward);
  const errors = rows.filter(isError).length;
  return (
    <section aria-label={name}>
      <h3>{name}</h3>
      <ul class="plain histogram">
        {counts.map(([label, n]) => (
          <li key={label}>
            <button type="button" aria-pressed={chosen === label} onClick={() => choose(chosen === label ? "" : label)}>
              <span>{label}</span>
              <span class="bar"><span style={{ width: `${(100 * n) / most}%` }} /></span>
              <span class="number">{count(n)}</span>
            </button>
          </li>
        ))}
      </ul>
      <p class="hint">
        {reward !== null && `Mean reward ${fixed(reward, 3)}. `}
        {errors > 0 && `${count(errors)} without a verdict.`}
      </p>
    </section>
  );
}

/** How rewards, probabilities and label masses are spread. */
function Spreads({ rows }: { rows: Row[] }) {
  return (
    <>
      <Spread name="Rewards" values={rows.map(row => row.reward)} />
      <Spread name="Probability that A is better" values={rows.map(row => (row.kind === "relative" ? row.value : null))} />
      <Spread name="Label mass" values={rows.map(row => row.mass)} />
    </>
  );
}

/** How many values are in each tenth of 0 to 1. */
function Spread({ name, values }: { name: string; values: (number | null)[] }) {
  const counts = useMemo(() => tenths(values), [values]);
  const most = Math.max(...counts, 1);
  if (counts.every(n => n === 0)) return null;
  return (
    <section aria-label={name}>
      <h3>{name}</h3>
      <ul class="plain spread">
        {counts.map((n, tenth) => (
          <li key={tenth}>
            <span>{fixed(tenth / 10, 1)} to {fixed((tenth + 1) / 10, 1)}</span>
            <span class="bar"><span style={{ width: `${(100 * n) / most}%` }} /></span>
            <span class="number">{count(n)}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Comparison({ items }: { items: Item[] }) {
  const counts = useMemo(() => {
    const counts = new Map<Change, number>();
    for (const item of items) counts.set(change(item), (counts.get(change(item)) ?? 0) + 1);
    return counts;
  }, [items]);
  const difference = useMemo(() => {
    const both = items.flatMap(({ first, second }) =>
      first?.reward != null && second?.reward != null ? [second.reward - first.reward] : []);
    return both.length > 0 ? both.reduce((sum, d) => sum + d, 0) / both.length : null;
  }, [items]);
  return (
    <p class="card" role="status">
      {CHANGES.filter(name => counts.has(name)).map(name => `${count(counts.get(name) ?? 0)} ${name}`).join(", ")}.
      {difference !== null && ` Mean reward, second less first: ${difference >= 0 ? "+" : ""}${fixed(difference, 3)}.`}
      {" "}<span class="faint">For intervals and tests: <code>gavel compare</code>.</span>
    </p>
  );
}
