// Small pieces that several screens use.

import { cloneElement, type ComponentChildren, type VNode } from "preact";
import { useId, useRef, useState } from "preact/hooks";
import type { Problem } from "./api";
import { count } from "./text";

/** What went wrong, in the server's words. */
export function ProblemBox({ problem, again }: { problem: Problem | null; again?: () => void }) {
  if (!problem) return null;
  return (
    <div class="problem" role="alert">
      <p>
        <strong>{problem.title || "It did not work"}</strong>
        {problem.code && <> (<a href={`/docs/errors#${problem.code}`}>{problem.code}</a>)</>}
      </p>
      <p class="text">{problem.detail}</p>
      {problem.pointer && <p>Where: <code>{problem.pointer}</code></p>}
      {problem.requestId && <p class="faint">Request {problem.requestId}</p>}
      {again && <p><button type="button" onClick={again}>Try again</button></p>}
    </div>
  );
}

export interface Bar {
  name: string;
  value: number;
  text: string;
}

/** Values as bars, which are also a table for those who listen. */
export function Bars({ bars, caption, most }: { bars: Bar[]; caption: string; most?: number }) {
  const highest = most ?? Math.max(...bars.map(bar => bar.value), 1e-9);
  return (
    <table class="bars">
      <caption class="sr">{caption}</caption>
      <tbody>
        {bars.map(bar => (
          <tr key={bar.name}>
            <th scope="row">{bar.name}</th>
            <td class="bar">
              <span style={{ width: `${(100 * bar.value) / highest}%` }} />
            </td>
            <td class="number">{bar.text}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A form's control with its label and a hint. */
export function Field({ label, hint, children }: { label: string; hint?: ComponentChildren; children: VNode }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {hint && <span class="hint" id={`${id}-hint`}>{hint}</span>}
      {cloneElement(children, { id, "aria-describedby": hint ? `${id}-hint` : undefined })}
    </div>
  );
}

/** The longest text that is drawn whole, in UTF-16 units. */
const DRAWN = 500_000;

/** A text that can be taken away. Of a very long one, the beginning is shown. */
export function Copyable({ text, label }: { text: string; label: string }) {
  const shown = useRef<HTMLPreElement>(null);
  const [said, say] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied.");
    } catch {
      // Pages without TLS have no clipboard.
      if (text.length > DRAWN) {
        save(new Blob([text]), "request.txt");
        say("Saved as request.txt.");
        return;
      }
      const selection = getSelection();
      if (shown.current) selection?.selectAllChildren(shown.current);
      say("Selected: copy it with the keyboard.");
    }
  };
  return (
    <div class="copyable">
      <p class="row">
        <button type="button" onClick={copy}>Copy</button>
        <span role="status">{said}</span>
      </p>
      <pre ref={shown} tabIndex={0} role="region" aria-label={label}>{text.slice(0, DRAWN)}</pre>
      {text.length > DRAWN && <p class="hint">Only the beginning is shown; “Copy” takes all {count(text.length)} characters.</p>}
    </div>
  );
}

/** Saves a text of the server as a file. */
export function save(content: Blob, name: string): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // After the browser has begun to read it.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
