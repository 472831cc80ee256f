// How far a judge is to be trusted, in words. The rules are those of the page that `gavel agree --html` writes: “better”
// means that the whole interval is above; “not shown” that it is not, which proves nothing.

import { count } from "../text";
import { inWords } from "./figures";
import type { Absolute, Figure, Judge, Labels, Pairwise, Probabilities, Redteam } from "./report";

export interface Finding {
  about: string;
  verdict: string;
  text: string;
  tone: "good" | "wrong" | "";
}

type Beside = "above" | "around" | "below" | "unknown";

/** Where an interval lies beside a value. */
export function beside({ low, high }: Figure, value: number): Beside {
  if (low === null || high === null) return "unknown";
  if (low > value) return "above";
  return high < value ? "below" : "around";
}

const LITTLE = "Too little data to say";

export function findings(judge: Judge, labels: Labels): Finding[] {
  const { pairwise, absolute, reward } = judge;
  return [
    pairwise && pairs(pairwise, labels.pairwise),
    pairwise && position(pairwise),
    pairwise && length(pairwise),
    absolute && scores(absolute, labels.absolute),
    reward && probabilities(reward),
    coverage(judge.coverage),
  ].filter(finding => finding !== null);
}

function pairs({ accuracy_non_ties: accuracy }: Pairwise, labels: Labels["pairwise"]): Finding | null {
  if (!accuracy) return null;
  const { longer, always_a, random } = labels?.baselines ?? { longer: null, always_a: null, random: null };
  const rules: [string, Figure | null][] = [["taking the longer response", longer], ["always taking A", always_a], ["a coin", random]];
  const known = rules.filter((rule): rule is [string, Figure] => rule[1] !== null);
  const best = known.sort((one, other) => other[1].value - one[1].value)[0];
  const people = labels?.human_ceiling ?? null;
  const side = best && beside(accuracy, best[1].value);
  const verdict = {
    above: "Better than the best simple rule",
    around: "Not shown to be better than the best simple rule",
    below: "Worse than the best simple rule",
    unknown: LITTLE,
  }[side ?? "unknown"];
  const nearPeople = people && {
    above: ", above how often people agree with each other",
    around: ", about as often right as people agree with each other",
    below: ", below how often people agree with each other",
    unknown: "",
  }[beside(accuracy, people.value)];
  const text = [
    `It agrees with people in ${inWords(accuracy, "share")} of ${count(accuracy.n)} pairs.`,
    best && `The best rule that ignores the content, ${best[0]}, reaches ${inWords(best[1], "share")}.`,
    people && `Two people agree in ${inWords(people, "share")}.`,
  ];
  return { about: "Pairs", verdict: verdict + (nearPeople ?? ""), text: said(text), tone: side === "above" ? "good" : side === "below" ? "wrong" : "" };
}

function position({ position_consistency: consistent, first_lean: lean }: Pairwise): Finding | null {
  if (!consistent) return null;
  const side = lean && beside(lean, 0.5);
  const verdict = side
    ? { above: "Leans to the response shown first", below: "Leans to the response shown second", around: "No position bias is shown", unknown: LITTLE }[side]
    : "The two orders never disagree";
  const text = [
    `It prefers the same response in both orders in ${inWords(consistent, "share")}.`,
    lean && `Where it does not (${count(lean.n)} pairs), the one shown first won in ${inWords(lean, "share")}; half would lean neither way.`,
    side && side !== "around" && side !== "unknown" && "Keep the option swap on: a pair whose orders disagree is then a tie.",
  ];
  return { about: "Position", verdict, text: said(text), tone: side === "above" || side === "below" ? "wrong" : "" };
}

function length({ length_bias: bias }: Pairwise): Finding | null {
  if (!bias) return null;
  const side = beside(bias, 0);
  const verdict = {
    above: "Prefers longer responses more than people do",
    below: "Prefers shorter responses more than people do",
    around: "No bias to length is shown",
    unknown: LITTLE,
  }[side];
  const text = `How often it prefers the longer response, less how often people do: ${inWords(bias, "points")}, over ${count(bias.n)} pairs.`;
  return { about: "Length", verdict, text, tone: side === "above" || side === "below" ? "wrong" : "" };
}

function scores({ spearman, mae, exact, scale }: Absolute, labels: Labels["absolute"]): Finding | null {
  if (!mae) return null;
  const ofLength = labels?.length_spearman ?? null;
  const median = labels?.median_mae ?? null;
  const order = spearman && beside(spearman, Math.abs(ofLength?.value ?? 0));
  const verdict = order
    ? {
        above: "Orders responses better than their length does",
        around: "Not shown to order responses better than their length does",
        below: "Orders responses worse than their length does",
        unknown: LITTLE,
      }[order]
    : "Its scores have no order, or the labels have none";
  const text = [
    spearman && `Over ${count(spearman.n)} items, Spearman’s correlation of its scores with people’s is ${inWords(spearman, "number")}.`,
    spearman && ofLength && `That of the length of the response is ${inWords(ofLength, "number")}.`,
    `On a scale from ${scale[0]} to ${scale[1]}, it is ${inWords(mae, "number")} points from people on average${median ? `; always the median is ${inWords(median, "number")}` : ""}.`,
    exact && `It gives exactly the label in ${inWords(exact, "share")}.`,
  ];
  return { about: "Scores", verdict, text: said(text), tone: order === "above" ? "good" : order === "below" ? "wrong" : "" };
}

function probabilities({ brier, ece }: Probabilities): Finding | null {
  if (!brier || !ece) return null;
  const side = beside(brier, 0.25);
  const verdict = {
    below: "Its probabilities are better than always one half",
    around: "Its probabilities are not shown to be better than always one half",
    above: "Its probabilities are worse than always one half",
    unknown: LITTLE,
  }[side];
  const text = [
    `In the mean, a probability is ${inWords(ece, "number")} from how often it comes true; the Brier score is ${inWords(brier, "number")}, that of always one half is 0.25.`,
    side !== "below" && "Do not read a probability as it stands; gavel calibrate maps it to people’s labels.",
  ];
  return { about: "Probabilities", verdict, text: said(text), tone: side === "below" ? "good" : side === "above" ? "wrong" : "" };
}

function coverage({ items, judged, unscored, failed }: Judge["coverage"]): Finding {
  const all = judged === items;
  const text = [
    `${count(judged)} of ${count(items)} items have a verdict${all ? "." : `; ${count(unscored)} have none, ${count(failed)} failed.`}`,
    !all && "Figures do not count these: a judge that leaves out difficult items looks better than it is.",
  ];
  return { about: "Coverage", verdict: all ? "All items judged" : "Not all items judged", text: said(text), tone: all ? "" : "wrong" };
}

/** What the attacks of a report come to. */
export function underAttack({ attacks, reward }: Redteam): Finding {
  const pays = attacks.filter(({ moved }) => moved && beside(moved, 0) === "above");
  const unknown = attacks.filter(({ moved }) => !moved || beside(moved, 0) === "unknown");
  const worst = pays.sort((one, other) => (other.moved?.value ?? 0) - (one.moved?.value ?? 0))[0];
  const text = [
    worst?.moved && `The one that pays most, “${worst.name}”, changes the reward by ${inWords(worst.moved, "difference")}. A policy that is trained on these rewards will find it.`,
    unknown.length > 0 && `On ${count(unknown.length)} there is too little data to say.`,
    reward && `Without an attack, the mean reward is ${inWords(reward, "number")}.`,
  ];
  const verdict = pays.length > 0 ? `${count(pays.length)} of ${count(attacks.length)} attacks raise the reward` : `None of ${count(attacks.length)} attacks is shown to raise the reward`;
  return { about: "Attacks", verdict, text: said(text), tone: pays.length > 0 ? "wrong" : "" };
}

function said(sentences: (string | null | undefined | false)[]): string {
  return sentences.filter(Boolean).join(" ");
}
