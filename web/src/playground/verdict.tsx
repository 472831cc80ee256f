// Verdicts as people read them.

import { Bars, type Bar } from "../parts";
import { certaintyInWords, count, fixed, massInWords, percent, scale, shortDigest } from "../text";
import type { Absolute, Criterion, Judgement, Relative, SeenPicture, Verdict } from "../types";

/** A verdict on a request with so many pictures. */
export function VerdictView({ verdict, sent }: { verdict: Verdict; sent: number }) {
  return (
    <div class="verdict">
      {verdict.object === "verdict.relative" ? <RelativeView verdict={verdict} /> : <AbsoluteView verdict={verdict} />}
      <Seen pictures={verdict.pictures ?? []} sent={sent} />
      <Provenance verdict={verdict} />
    </div>
  );
}

/** The pictures that the judge saw, which are all of the request, or none where there are none. */
function Seen({ pictures, sent }: { pictures: SeenPicture[]; sent: number }) {
  if (pictures.length === 0) {
    if (sent === 0) return <p class="faint">The judge saw no picture: the request has none.</p>;
    return <p class="wrong">The judge saw no picture, although the request has {sent}: do not rely on this verdict.</p>;
  }
  return (
    <section aria-label="Pictures that the judge saw">
      <h3 class="minor">The judge saw {pictures.length === 1 ? "one picture" : `${pictures.length} pictures`}</h3>
      <ul class="plain">
        {pictures.map(({ pointer, width, height, tokens, sha256 }) => (
          <li key={pointer}>
            <code>{pointer}</code>: {width} × {height} pixels, {count(tokens)} tokens <span class="faint">({shortDigest(sha256)})</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** How much the judge wanted to answer at all. */
function Mass({ mass, kind }: { mass: number; kind?: string }) {
  return (
    <p>
      Label mass <strong>{fixed(mass)}</strong>
      {kind && kind !== "exact" && ` (${kind})`}: {massInWords(mass)}.
    </p>
  );
}

function Distribution({ distribution }: { distribution: Record<string, number> }) {
  const scores = Object.entries(distribution).sort((a, b) => Number(a[0]) - Number(b[0]));
  const bars: Bar[] = scores.map(([name, value]) => ({ name, value, text: fixed(value, 3) }));
  return <Bars bars={bars} caption="Probability of each score" most={1} />;
}

function Feedback({ text }: { text: string | null }) {
  return text ? <blockquote class="text" dir="auto" tabIndex={0}>{text}</blockquote> : null;
}

function Score({ of, kind }: { of: Criterion; kind?: string }) {
  return (
    <>
      {of.score !== null && of.distribution && (
        <>
          <p class="headline">
            Score <strong>{of.score}</strong> <span>on {scale(of.distribution)}</span>
          </p>
          <p>
            Expected score {fixed(of.expected_score)}, reward {fixed(of.reward, 3)}: {certaintyInWords(of.distribution)}
            {typeof of.agreement === "number" && of.agreement < 1 && `, ${percent(of.agreement)} of the samples agree`}.
          </p>
          <Distribution distribution={of.distribution} />
        </>
      )}
      <Mass mass={of.label_mass} kind={kind} />
      <Feedback text={of.feedback} />
    </>
  );
}

function AbsoluteView({ verdict }: { verdict: Absolute }) {
  if (!verdict.criteria) {
    return (
      <>
        <Score of={verdict} kind={verdict.label_mass_kind} />
        <Samples judgements={verdict.judgements ?? []} />
      </>
    );
  }
  return (
    <>
      <p class="headline">Reward <strong>{fixed(verdict.reward, 3)}</strong> <span>over {verdict.criteria.length} rubrics</span></p>
      {verdict.criteria.map((criterion, i) => (
        <section key={i} class="card">
          <h3 class="minor">{criterion.rubric?.name} (weight {criterion.weight})</h3>
          <Score of={criterion} />
        </section>
      ))}
    </>
  );
}

function Samples({ judgements }: { judgements: Judgement[] }) {
  if (judgements.length < 2) return null;
  return (
    <details>
      <summary>{judgements.length} samples</summary>
      <ul class="plain">
        {judgements.map(judgement => (
          <li key={judgement.sample}>
            Seed {judgement.seed}: score {judgement.score}, label mass {fixed(judgement.label_mass)}
            <Feedback text={judgement.feedback} />
          </li>
        ))}
      </ul>
    </details>
  );
}

function RelativeView({ verdict }: { verdict: Relative }) {
  const { preference, probability_a: a, consistent } = verdict;
  const bars = [
    { name: "A", value: a, text: fixed(a, 3) },
    { name: "B", value: 1 - a, text: fixed(1 - a, 3) },
  ];
  return (
    <>
      <p class="headline">
        {preference === "tie" ? <strong>A tie</strong> : <><strong>{preference}</strong> <span>is better</span></>}
      </p>
      <Bars bars={bars} caption="Probability that each response is the better one" most={1} />
      {consistent === true && <p class="good">Both orders agree.</p>}
      {consistent === false && (
        <p class="wrong">The two orders disagree: the judge went by the position, so this is a tie.</p>
      )}
      <Mass mass={verdict.label_mass} kind={verdict.label_mass_kind} />
      <div class="two">
        {verdict.judgements?.map(judgement => <Order key={`${judgement.order}${judgement.sample}`} judgement={judgement} />)}
        {verdict.grades &&
          (["a", "b"] as const).map(side => (
            <section key={side} class="card">
              <h3 class="minor">Response {side.toUpperCase()} graded alone</h3>
              {verdict.grades?.[side].criteria.map((criterion, i) => <Score key={i} of={criterion} />)}
            </section>
          ))}
      </div>
    </>
  );
}

function Order({ judgement }: { judgement: Judgement }) {
  const swapped = judgement.order === "BA";
  return (
    <section class="card">
      <h3 class="minor">{swapped ? "B shown first" : "A shown first"}{judgement.sample > 0 && `, sample ${judgement.sample + 1}`}</h3>
      <p>
        Prefers <strong>{judgement.preference}</strong>, P(A) {fixed(judgement.probability_a, 3)}, label mass{" "}
        {fixed(judgement.label_mass)}
      </p>
      {swapped && judgement.feedback && <p class="hint">The text names responses as they were shown: its A is your B.</p>}
      <Feedback text={judgement.feedback} />
    </section>
  );
}

function Provenance({ verdict }: { verdict: Verdict }) {
  const { model, prompt, rubric, usage } = verdict;
  return (
    <p class="faint">
      {model.name} on {model.engine} ({shortDigest(model.digest)}), prompt {prompt.name} ({shortDigest(prompt.digest)}),
      rubric {rubric.name} ({shortDigest(rubric.digest)}). {count(usage.prompt_tokens)} prompt tokens,{" "}
      {count(usage.completion_tokens)} written; {(verdict.timing_ms.total / 1000).toFixed(2)} s
      {verdict.cached && ", from the cache"}. {verdict.id}
    </p>
  );
}
