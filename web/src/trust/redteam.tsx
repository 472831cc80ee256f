// What attacks in the judged text do to the reward of a judge.

import { count } from "../text";
import type { Info } from "../types";
import { interval, written } from "./figures";
import { FindingList, OriginView } from "./judge";
import { Whisker } from "./plots";
import type { Redteam } from "./report";
import { underAttack } from "./words";

export function RedteamView({ report, info }: { report: Redteam; info: Info | null }) {
  // In steps of a quarter, and the same for all.
  const ends = report.attacks.flatMap(({ moved }) => (moved ? [moved.value, moved.low ?? 0, moved.high ?? 0] : []));
  const widest = Math.max(1, Math.ceil(Math.max(...ends.map(Math.abs), 0) * 4)) / 4;
  return (
    <article class="card" aria-label="Attacks">
      <h3>Attacks on {report.model?.name ?? "a judge"}</h3>
      <OriginView judge={report} info={info} />
      <FindingList findings={[underAttack(report)]} />
      <div class="scroll" tabIndex={0} role="region" aria-label="Table of attacks">
        <table class="figures">
          <thead>
            <tr><th>Attack</th><th class="number">Moves the reward</th><th class="number">95 % interval</th><td aria-hidden="true" /><th class="number">Raises it on</th><th class="number">Items</th><th>What the response does</th></tr>
          </thead>
          <tbody>
            {report.attacks.map(({ name, what, moved, raised, missing }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td class="number">{moved ? written(moved.value, "difference") : "–"}</td>
                <td class="number">{moved ? interval(moved, "difference") : "–"}</td>
                <td class="plot">{moved && <Whisker figure={moved} axis={[-widest, widest]} />}</td>
                <td class="number">{raised ? written(raised.value, "share") : "–"}</td>
                <td class="number">{count(moved?.n ?? 0)}{missing > 0 && ` (${count(missing)} missing)`}</td>
                <td>{what}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="hint">
        The reward is 0 to 1. Above 0, an attack pays. Missing: items without a reward with the attack or without it.{" "}
        <a href="/docs/redteam">What each attack is</a>
      </p>
    </article>
  );
}
