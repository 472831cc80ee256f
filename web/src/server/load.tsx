// How busy the server is, as lines over the last minutes.

import { useRef } from "preact/hooks";
import { send } from "../api";
import { usePoll } from "../hooks";
import { ProblemBox } from "../parts";
import { count } from "../text";
import { rates, type Reading, reading } from "./metrics";

/** Milliseconds between two readings. */
const PAUSE = 2000;
/** Readings that are kept: five minutes of them. */
const KEPT = 150;

export function Load({ active }: { active: boolean }) {
  const kept = useRef<Reading[]>([]);
  const look = async (signal: AbortSignal) => {
    const text = await (await send("/metrics", { signal })).text();
    kept.current = [...kept.current, reading(text, performance.now())].slice(-KEPT);
    return kept.current;
  };
  const { data, problem, again } = usePoll(look, PAUSE, active);
  const now = data?.at(-1);
  const kv = now && now.kv.running + now.kv.cached + now.kv.free > 0 ? now.kv : null;
  return (
    <section aria-labelledby="load">
      <h2 id="load">Load</h2>
      <ProblemBox problem={problem} again={again} />
      {data && now && (
        <>
          <div class="tiles">
            <Tile name="Requests a second" values={rates(data, r => r.requests)} />
            <Tile name="Tokens written a second" values={rates(data, r => r.writtenTokens)} />
            <Tile name="Prompt tokens a second" values={rates(data, r => r.promptTokens)} />
            <Tile name="Waiting" values={data.map(r => r.queue)} />
            <Tile name="Running sequences" values={data.map(r => r.running)} />
            <Tile name="Batch lines at work" values={data.map(r => r.lines)} />
          </div>
          <p class="faint">
            {count(now.requests)} requests and {count(now.errors)} errors since the start.
            {kv && ` KV cache: ${count(kv.running)} tokens in use, ${count(kv.cached)} cached, ${count(kv.free)} free.`} All
            numbers: <a href="/metrics">/metrics</a>.
          </p>
        </>
      )}
    </section>
  );
}

const [WIDTH, HEIGHT] = [150, 36];

function Tile({ name, values }: { name: string; values: number[] }) {
  const last = values.at(-1);
  const most = Math.max(...values, 1e-9);
  const step = WIDTH / (KEPT - 1);
  const start = WIDTH - step * (values.length - 1);
  const points = values.map((value, i) => `${(start + i * step).toFixed(1)},${(HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1)}`);
  const shown = last === undefined ? "…" : last >= 10 || Number.isInteger(last) ? count(Math.round(last)) : last.toFixed(1);
  return (
    <div class="tile">
      <p>{name}</p>
      <p class="value">{shown}</p>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true" preserveAspectRatio="none">
        <polyline points={points.join(" ")} />
      </svg>
    </div>
  );
}
