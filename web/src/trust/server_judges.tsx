// The judges of this server: what is known of each, and what maps their numbers.

import { count, fixed, percent, shortDigest } from "../text";
import type { Calibration, Info } from "../types";
import type { Stored } from "./trust";

export function ServerJudges({ info, stored, open }: { info: Info; stored: Stored[]; open: (name: string) => void }) {
  // A model that is not loaded has no digest; then its name has to do.
  const measured = (name: string, digest: string | null) =>
    stored.filter(report => report.judges.some(({ model }) => model && (digest ? model.digest === digest : model.name === name)));
  return (
    <section aria-labelledby="server-judges">
      <h2 id="server-judges">The judges of this server</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table of judges">
        <table>
          <thead><tr><th>Model</th><th>Digest</th><th>What is known of it</th></tr></thead>
          <tbody>
            {info.models.map(({ name, digest, agreement }) => {
              const found = measured(name, digest);
              return (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td>{digest ? <code title={digest}>{shortDigest(digest)}</code> : "not loaded"}</td>
                  <td>
                    {agreement && <p>{agreement}. <a href="/docs/judging">How that was measured</a></p>}
                    {found.length === 0 && !agreement && "Nothing: no report on this server is about it, so do not trust it yet."}
                    <span class="row">
                      {found.map(report => (
                        <button key={report.name} type="button" class="link" onClick={() => open(report.name)}>{report.name} ({report.report})</button>
                      ))}
                    </span>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <Calibrations info={info} />
    </section>
  );
}

function Calibrations({ info }: { info: Info }) {
  const all = info.models.flatMap(({ name, calibrations }) => (calibrations ?? []).map((calibration): [string, Calibration] => [name, calibration]));
  if (all.length === 0) {
    return (
      <p class="hint">
        No calibration or fit is loaded: rewards and probabilities are what the judge says. <a href="/docs/calibration">How to map
        them to people’s labels</a>
      </p>
    );
  }
  return (
    <>
      <h3>Calibrations and fits</h3>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table of calibrations">
        <table>
          <thead><tr><th>Model</th><th>Map</th><th>Held-out items</th><th>Calibration error</th><th>Brier score</th><th>Accuracy</th><th>Digest</th></tr></thead>
          <tbody>
            {all.map(([name, { digest, object, kind, method, items, before, after }]) => (
              <tr key={digest}>
                <th scope="row">{name}</th>
                <td>{object} of {kind} verdicts, {method.replaceAll("_", " ")}</td>
                <td>{count(items)}</td>
                <td>{fixed(before.ece, 3)} → {fixed(after.ece, 3)}</td>
                <td>{fixed(before.brier, 3)} → {fixed(after.brier, 3)}</td>
                <td>{percent(before.accuracy)} → {percent(after.accuracy)}</td>
                <td><code title={digest}>{shortDigest(digest)}</code></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="hint">Before → after, on items that the map was not fitted to. For the error and the Brier score, lower is better.</p>
    </>
  );
}
