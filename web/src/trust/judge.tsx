// One judge of a report: in words, in figures, by subset, and in plots.

import { shortDigest } from "../text";
import type { Info } from "../types";
import { groups, type Line, type Unit } from "./figures";
import { Confusion, FigureTable, Reliability } from "./plots";
import type { Figure, Judge, Labels } from "./report";
import { type Finding, findings } from "./words";

export function JudgeView({ judge, labels, info }: { judge: Judge; labels: Labels; info: Info | null }) {
  const { absolute, pairwise, reward } = judge;
  const levels = absolute ? Array.from(absolute.confusion, (_, i) => String(absolute.scale[0] + i)) : [];
  return (
    <article class="card" aria-label={`Judge ${judge.name}`}>
      <h3>{judge.name}</h3>
      <OriginView judge={judge} info={info} />
      <FindingList findings={findings(judge, labels)} />
      {groups(judge, labels).map(({ title, lines }) => <FigureTable key={title} title={title} lines={lines} />)}
      <div class="two plots">
        {absolute && <Confusion title="Scores" names={levels} counts={absolute.confusion} />}
        {pairwise && <Confusion title="Preferences" names={["A", "B", "tie"]} counts={pairwise.confusion} />}
        {reward && reward.reliability.length > 0 && <Reliability bins={reward.reliability} of={reward.of} />}
      </div>
      {pairwise && <Subsets title="Accuracy, no ties" unit="share" axis={[0, 1]} sets={pairwise.by_set} subsets={pairwise.by_subset} of={figures => figures.accuracy_non_ties} />}
      {absolute && <Subsets title="Spearman’s correlation" unit="number" axis={[-1, 1]} sets={absolute.by_set} subsets={absolute.by_subset} of={figures => figures.spearman} />}
    </article>
  );
}

export function FindingList({ findings }: { findings: Finding[] }) {
  return (
    <dl class="findings">
      {findings.map(({ about, verdict, text, tone }) => (
        <div key={about}>
          <dt>{about}</dt>
          <dd><strong class={tone}>{verdict}.</strong> {text}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Which model and prompt were measured, and whether they are those that the server runs. */
export function OriginView({ judge: { model, prompt }, info }: { judge: Pick<Judge, "model" | "prompt">; info: Info | null }) {
  const runs = model && info?.models.find(hosted => hosted.digest === model.digest);
  const prompts = Object.values(info?.prompt_digests ?? {});
  const known = prompt?.digest.split("+").every(digest => prompts.includes(digest)) ?? false;
  return (
    <>
      <p class="faint">
        {model ? `${model.name} on ${model.engine} (${shortDigest(model.digest)})` : "The verdicts do not name one model"}
        {prompt && `, prompt ${prompt.name} (${prompt.digest.split("+").map(shortDigest).join(", ")})`}
      </p>
      {info && model && (
        <p class={runs && known ? "good" : "hint"}>
          {runs
            ? `This server runs this model as ${runs.name}${prompt ? (known ? ", and has this prompt." : "; the prompt has changed since, so the figures may not hold.") : "."}`
            : "No model that is loaded on this server has this digest: the figures are of another judge."}
        </p>
      )}
    </>
  );
}

interface SubsetsProps<T> {
  title: string;
  unit: Unit;
  axis: [number, number];
  sets: Record<string, T>;
  subsets: Record<string, T>;
  of: (figures: T) => Figure | null;
}

/** One figure of each set and subset. */
function Subsets<T>({ title, unit, axis, sets, subsets, of }: SubsetsProps<T>) {
  const lines = (all: Record<string, T>, says: string): Line[] =>
    Object.entries(all).flatMap(([name, figures]) => {
      const figure = of(figures);
      return figure ? [{ name, unit, axis, says, figure, baseline: false }] : [];
    });
  const sorted = [...lines(Object.keys(sets).length > 1 ? sets : {}, "a set"), ...lines(subsets, "a subset")];
  if (sorted.length === 0) return null;
  const undefinedOnes = Object.values(subsets).filter(figures => !of(figures)).length;
  return (
    <details class="subsets">
      <summary>{title} by subset ({sorted.length})</summary>
      <FigureTable title={`${title} by subset`} lines={sorted} />
      {undefinedOnes > 0 && <p class="hint">In {undefinedOnes} more subsets it is not defined.</p>}
    </details>
  );
}
