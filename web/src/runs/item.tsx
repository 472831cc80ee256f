// One item in full, read from the file again.

import { useEffect, useState } from "preact/hooks";
import { DebugView } from "../playground/debug";
import { VerdictView } from "../playground/verdict";
import { Problem } from "../api";
import { answers, asked, named, picturesIn, textOf } from "../conversation";
import { ProblemBox } from "../parts";
import { Content } from "../pictures";
import type { Verdict } from "../types";
import { result, type Row } from "./result";

/** The longest text of a line that is drawn whole, in UTF-16 units. */
const SHOWN = 200_000;

export function ItemView({ file, row, name }: { file: File; row: Row; name: string }) {
  const [text, setText] = useState<string | null>(null);
  const [failure, setFailure] = useState("");
  useEffect(() => {
    let left = false;
    setText(null);
    setFailure("");
    file.slice(row.offset, row.offset + row.length).text().then(
      text => left || setText(text),
      () => left || setFailure("The file has changed since it was opened. Open it again."),
    );
    return () => void (left = true);
  }, [file, row]);
  return (
    <section class="card" aria-label={name}>
      <h3>{name}: <span dir="auto">{row.id}</span></h3>
      {failure && <p class="wrong" role="alert">{failure}</p>}
      {text !== null && <Line text={text} row={row} />}
    </section>
  );
}

function Line({ text, row }: { text: string; row: Row }) {
  const line = row.kind === "unreadable" ? null : JSON.parse(text);
  const { verdict, error } = line ? result(line) : { verdict: null, error: null };
  const input: Record<string, unknown> = line?.input ?? {};
  const texts = [...asked(input), ...answers(input), ...named(input, [["reference_answer", "Reference answer"]])];
  const isVerdict = verdict && (row.kind === "absolute" || row.kind === "relative") && verdict.model && verdict.usage;
  return (
    <>
      {texts.map(({ name, content }) => (
        <div key={name}>
          <h3 class="minor">{name}</h3>
          <blockquote class="text" dir="auto" tabIndex={0}><Content of={content} name={name} /></blockquote>
        </div>
      ))}
      {row.kind === "unreadable" && <p class="wrong">Line {row.line} is no result: {row.label}.</p>}
      {error && <ProblemBox problem={Problem.read(Number(error.status ?? 0), error)} />}
      {isVerdict && <VerdictView verdict={verdict as Verdict} sent={picturesIn(texts)} />}
      {isVerdict && verdict.debug && (
        <DebugView debug={verdict.debug} texts={Object.fromEntries(texts.map(part => [part.field, textOf(part)]))} />
      )}
      <details>
        <summary>Line {row.line} as it is in the file</summary>
        <pre tabIndex={0} role="region" aria-label="Line" dir="auto">{pretty(text, line)}</pre>
        {text.length > SHOWN && <p class="hint">Only its first 200,000 characters are shown; the line has {text.length}.</p>}
      </details>
    </>
  );
}

function pretty(text: string, line: unknown): string {
  const all = line ? JSON.stringify(line, null, 2) : text;
  return all.slice(0, SHOWN);
}
