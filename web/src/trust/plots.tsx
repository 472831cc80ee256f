// The plots of a judge. Each has its numbers in a table.

import { count, fixed } from "../text";
import { interval, type Line, written } from "./figures";
import type { Bin, Figure } from "./report";

/** A figure on its axis: a dot, and its interval as a line. */
export function Whisker({ figure, axis: [least, most] }: { figure: Figure; axis: [number, number] }) {
  const place = (value: number) => `${(100 * (Math.min(most, Math.max(least, value)) - least)) / (most - least)}%`;
  const { value, low, high } = figure;
  return (
    <div class="whisker" aria-hidden="true">
      {least < 0 && <span class="zero" style={{ left: place(0) }} />}
      {low !== null && high !== null && <span class="range" style={{ left: place(low), right: `calc(100% - ${place(high)})` }} />}
      <span class="dot" style={{ left: place(value) }} />
    </div>
  );
}

/** Figures in a table, each with its interval beside its baselines. */
export function FigureTable({ title, lines }: { title: string; lines: Line[] }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`Figures: ${title}`}>
      <table class="figures">
        <thead>
          <tr><th>{title}</th><th class="number">Value</th><th class="number">95 % interval</th><td aria-hidden="true" /><th class="number">Items</th><th>What it says</th></tr>
        </thead>
        <tbody>
          {lines.map(({ name, unit, axis, says, figure, baseline }) => (
            <tr key={name} class={baseline ? "baseline" : undefined}>
              <th scope="row">{name}</th>
              <td class="number">{written(figure.value, unit)}</td>
              <td class="number">{interval(figure, unit)}</td>
              <td class="plot"><Whisker figure={figure} axis={axis} /></td>
              <td class="number">{count(figure.n)}</td>
              <td>{says}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** How strong the tint of a cell may be, so that its count can be read in light and in dark. */
const STRONGEST = 50;

/** How many items have which label and which verdict; the tint is the share of the row. */
export function Confusion({ names, counts, title }: { names: string[]; counts: number[][]; title: string }) {
  return (
    <section aria-label={title}>
      <h4>{title}</h4>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Table: ${title}`}>
        <table class="confusion">
          <thead>
            <tr><th>people ↓ judge →</th>{names.map(name => <th key={name} scope="col">{name}</th>)}</tr>
          </thead>
          <tbody>
            {names.map((name, row) => {
              const cells = counts[row] ?? [];
              const sum = cells.reduce((sum, n) => sum + n, 0);
              return (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  {cells.map((n, column) => (
                    <td
                      key={column}
                      class={row === column ? "same" : undefined}
                      style={{ background: `color-mix(in srgb, var(--bar) ${sum > 0 ? (STRONGEST * n) / sum : 0}%, var(--paper))` }}
                    >
                      {count(n)}
                    </td>
                  ))}
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <p class="hint">Numbers of items; where people and judge agree, the cell has a border.</p>
    </section>
  );
}

const [SIDE, LEFT, TOP] = [280, 34, 8];

/** Probabilities against what came true. */
export function Reliability({ bins, of }: { bins: Bin[]; of: string }) {
  const x = (value: number) => LEFT + value * SIDE;
  const y = (value: number) => TOP + (1 - value) * SIDE;
  const most = Math.max(...bins.map(bin => bin.n), 1);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const what = of === "pairs" ? "that A is better" : "of the upper level";
  return (
    <section aria-label="Reliability curve">
      <h4>Reliability curve</h4>
      <svg class="reliability" viewBox={`0 0 ${LEFT + SIDE + 16} ${TOP + SIDE + 36}`} role="img" aria-label={`Reliability curve over ${bins.length} bins; the table has the numbers`}>
        {ticks.map(tick => (
          <g key={tick}>
            <line class="grid" x1={x(tick)} x2={x(tick)} y1={y(0)} y2={y(1)} />
            <line class="grid" x1={x(0)} x2={x(1)} y1={y(tick)} y2={y(tick)} />
            <text x={x(tick)} y={y(0) + 14} text-anchor="middle">{tick}</text>
            <text x={LEFT - 5} y={y(tick) + 4} text-anchor="end">{tick}</text>
          </g>
        ))}
        <line class="ideal" x1={x(0)} y1={y(0)} x2={x(1)} y2={y(1)} />
        <polyline points={bins.map(bin => `${x(bin.predicted)},${y(bin.observed)}`).join(" ")} />
        {bins.map((bin, i) => <circle key={i} cx={x(bin.predicted)} cy={y(bin.observed)} r={2 + 3 * Math.sqrt(bin.n / most)} />)}
        <text x={x(0.5)} y={y(0) + 30} text-anchor="middle">what the judge says</text>
      </svg>
      <p class="hint">
        Across: the probability {what}, as the judge says. Up: how often that was so. On the dashed line, a probability means what
        it says; above it the judge is too cautious, below it too sure.
      </p>
      <details>
        <summary>The bins as a table</summary>
        <div class="scroll" tabIndex={0} role="region" aria-label="Table of bins">
          <table>
            <thead><tr><th>From</th><th>To</th><th>Mean probability</th><th>Came true</th><th>Items</th></tr></thead>
            <tbody>
              {bins.map((bin, i) => (
                <tr key={i}><td>{fixed(bin.low, 3)}</td><td>{fixed(bin.high, 3)}</td><td>{fixed(bin.predicted, 3)}</td><td>{fixed(bin.observed, 3)}</td><td>{count(bin.n)}</td></tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </section>
  );
}
