// What the server is made of and how busy it is.

import { getJson } from "../api";
import { usePoll } from "../hooks";
import { ProblemBox } from "../parts";
import { bytes, count, shortDigest } from "../text";
import type { Hosted, Info, Memory, RecentErrors, Usage } from "../types";
import { Errors } from "./errors";
import { Load } from "./load";
import { Rubrics } from "./rubrics";

/** Milliseconds between two looks at models and keys. */
const PAUSE = 5000;

async function look(signal: AbortSignal) {
  const [info, names, usage, errors] = await Promise.all([
    getJson<Info>("/v1/info", signal),
    getJson<{ data: { id: string }[] }>("/v1/models", signal),
    getJson<Usage>("/v1/usage", signal),
    getJson<RecentErrors>("/v1/errors", signal),
  ]);
  return { info, names: names.data.map(model => model.id), usage, errors };
}

export function ServerScreen({ active, key_changed }: { active: boolean; key_changed: number }) {
  const { data, problem, again } = usePoll(look, PAUSE, active);
  return (
    <>
      <ProblemBox problem={problem} again={again} />
      {data && <Models info={data.info} names={data.names} />}
      <Load active={active} />
      {data && <Errors errors={data.errors} />}
      <Rubrics active={active} key_changed={key_changed} />
      {data && <Keys usage={data.usage} />}
    </>
  );
}

const STATES: Record<string, string> = {
  loaded: "loaded",
  loading: "loading",
  unloaded: "not loaded; the first request loads it",
  failed: "failed; the server's log says why",
};

function Models({ info, names }: { info: Info; names: string[] }) {
  const { limits, model } = info;
  const limit = (name: string) => limits[name] ?? 0;
  return (
    <section aria-labelledby="models">
      <h2 id="models">Models</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table of models">
        <table>
          <thead>
            <tr><th>Name</th><th>State</th><th>Engine</th><th>Context</th><th>Judges</th><th>Prompt set</th><th>Compares</th><th>Memory</th><th>Digest</th></tr>
          </thead>
          <tbody>{info.models.map(model => <ModelRow key={model.name} model={model} />)}</tbody>
        </table>
      </div>
      {model?.remote && (
        <>
          <h3>The servers behind the first model</h3>
          <dl class="facts">
            {Object.entries(model.remote).map(([name, value]) => (
              <div key={name}><dt>{name.replaceAll("_", " ")}</dt><dd>{said(value)}</dd></div>
            ))}
          </dl>
        </>
      )}
      <details>
        <summary>{names.length} names that OpenAI's clients may use</summary>
        <p><code>{names.join(", ")}</code></p>
        <p class="hint">What each answers: <a href="/docs/judge-models">judge models</a>.</p>
      </details>
      <p class="faint">
        Gavel {info.version}, built with {info.features.join(", ") || "no engine"}. Limits: {count(limit("in_flight"))} judgements at
        once, {count(limit("queue"))} waiting, {bytes(limit("body_bytes"))} a body, {limit("deadline_ms") / 1000} s a request.
      </p>
    </section>
  );
}

function ModelRow({ model }: { model: Hosted }) {
  return (
    <tr>
      <th scope="row">{model.name}</th>
      <td>{STATES[model.state] ?? model.state}</td>
      <td>{engineInWords(model)}</td>
      <td>{model.context === null ? "–" : `${count(model.context)} tokens`}</td>
      <td>{abilitiesInWords(model)}</td>
      <td>{model.prompt ?? "–"}</td>
      <td>{model.preference_method ?? "–"}</td>
      <td>{memoryInWords(model.memory)}</td>
      <td>{model.digest ? <code title={model.digest}>{shortDigest(model.digest)}</code> : "–"}</td>
    </tr>
  );
}

function engineInWords({ engine, device, threads }: Hosted): string {
  if (!engine) return "–";
  const places: Record<string, string> = { cpu: "on the CPU", gpu: "on the GPU", cuda: "on the GPU (CUDA)", metal: "on the GPU (Metal)" };
  const place = places[device ?? ""];
  const where = place && (threads === null ? place : `${place}, ${count(threads)} threads`);
  return where ? `${engine}, ${where}` : engine;
}

function abilitiesInWords({ pictures, label_mass_kind }: Hosted): string {
  if (label_mass_kind === null) return "–";
  return `${pictures ? "text and pictures" : "text"}; probabilities are ${label_mass_kind}`;
}

function memoryInWords(memory: Memory | null): string {
  if (!memory) return "–";
  const { weights_bytes, kv_cache_bytes, counted_bytes } = memory;
  const known = [weights_bytes !== null && `${bytes(weights_bytes)} of weights`, kv_cache_bytes !== null && `${bytes(kv_cache_bytes)} of KV cache`];
  const text = known.filter(Boolean).join(", ");
  if (text) return text;
  return counted_bytes > 0 ? `about ${bytes(counted_bytes)}, by its files and settings` : "–";
}

function said(value: unknown): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

function Keys({ usage }: { usage: Usage }) {
  return (
    <section aria-labelledby="keys">
      <h2 id="keys">Keys</h2>
      {usage.data.length === 0 ? (
        <p class="hint">Keys are off, or none has been used. <a href="/docs/security">How to turn them on</a></p>
      ) : (
        <>
          <div class="scroll" tabIndex={0} role="region" aria-label="Table of keys">
            <table>
              <thead><tr><th>Key</th><th>Requests</th><th>Judgements</th><th>Prompt tokens</th><th>Tokens written</th></tr></thead>
              <tbody>
                {usage.data.map(key => (
                  <tr key={key.key}>
                    <th scope="row">{key.key}</th>
                    <td>{count(key.requests)}</td>
                    <td>{count(key.judgements)}</td>
                    <td>{count(key.prompt_tokens)}</td>
                    <td>{count(key.completion_tokens)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          <p class="faint">Since {new Date(usage.since).toLocaleString()}. With the scope admin, a key sees all keys.</p>
        </>
      )}
    </section>
  );
}
