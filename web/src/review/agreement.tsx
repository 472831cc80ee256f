import { useEffect, useState } from "preact/hooks";
import { Problem } from "../api";
import { ProblemBox } from "../parts";
import { count, fixed, percent } from "../text";
import type { Agreement, Queue } from "./queue";

/** How far labels agree so far. It is asked for seldom: the server goes through all reviews for it. */
export function AgreementView({ queue, active, again }: { queue: Queue; active: boolean; again: unknown }) {
  const [found, setFound] = useState<Agreement | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const look = () => {
    setProblem(null);
    queue.agreement().then(setFound, error => setProblem(Problem.from(error)));
  };
  useEffect(() => {
    if (active) look();
  }, [active, again]);
  return (
    <section aria-labelledby="agreement">
      <h2 id="agreement">Agreement so far</h2>
      <ProblemBox problem={problem} />
      {found && <Words of={found} />}
      <p><button type="button" onClick={look}>Refresh</button></p>
    </section>
  );
}

function Words({ of: { reviews, labels, alpha, judged, accuracy, kappa } }: { of: Agreement }) {
  if (reviews === 0) return <p class="hint">No item has a label yet.</p>;
  return (
    <dl class="facts">
      <div><dt>Labels</dt><dd>{count(labels)} on {count(reviews)} items</dd></div>
      <div>
        <dt>Reviewers with each other</dt>
        <dd>{alpha === null ? "unknown: no item has two labels, or all are alike" : `Krippendorff’s alpha ${fixed(alpha)} (1 is full agreement, 0 that of chance)`}</dd>
      </div>
      <div>
        <dt>Reviewers with the judge</dt>
        <dd>
          {accuracy === null ? "unknown: no labelled item has a verdict" : `the same on ${percent(accuracy)} of ${count(judged)} items`}
          {kappa !== null && `, Cohen’s kappa ${fixed(kappa)}`}
        </dd>
      </div>
    </dl>
  );
}
