// The figures of a judge that are shown, what each means, and beside what it is to be read.

import type { Figure, Judge, Labels } from "./report";

export type Unit = "share" | "points" | "number" | "difference";

/** A value as it is written. */
export function written(value: number, unit: Unit): string {
  if (unit === "share") return `${(value * 100).toFixed(1)} %`;
  if (unit === "points") return `${signed(value * 100, 1)} points`;
  if (unit === "difference") return signed(value, 3);
  return value.toFixed(3).replace("-", "−");
}

export function signed(value: number, digits: number): string {
  const text = value.toFixed(digits);
  return Number(text) > 0 ? `+${text}` : text.replace("-", "−");
}

/** The 95 % interval; a dash where there is none. */
export function interval({ low, high }: Figure, unit: Unit): string {
  if (low === null || high === null) return "–";
  const bare = (value: number) => written(value, unit).replace(/ (%|points)$/, "");
  return `${bare(low)} to ${bare(high)}`;
}

/** A figure in a sentence. */
export function inWords(figure: Figure, unit: Unit): string {
  const range = interval(figure, unit);
  return range === "–" ? written(figure.value, unit) : `${written(figure.value, unit)} (${range})`;
}

export interface Line {
  name: string;
  unit: Unit;
  /** The ends of its axis. */
  axis: [number, number];
  says: string;
  figure: Figure;
  /** It takes no judge, or is what people reach. */
  baseline: boolean;
}

export interface Group {
  title: string;
  lines: Line[];
}

type Found = Figure | null | undefined;

function lines(axis: [number, number], unit: Unit, rows: [name: string, figure: Found, says: string, baseline?: boolean][]): Line[] {
  return rows.flatMap(([name, figure, says, baseline = false]) => (figure ? [{ name, unit, axis, says, figure, baseline }] : []));
}

/** Everything that is known of a judge, each figure with its baselines behind it. */
export function groups({ pairwise, absolute, reward }: Judge, labels: Labels): Group[] {
  const pairs = labels.pairwise;
  const scores = labels.absolute;
  const all: Group[] = [
    {
      title: "Pairs",
      lines: [
        ...lines([0, 1], "share", [
          ["Accuracy, no ties", pairwise?.accuracy_non_ties, "how often judge and label prefer the same response, where neither is a tie"],
          ["people with each other", pairwise && pairs?.human_ceiling, "how often two people agree: what a judge can reach", true],
          ["the longer response", pairwise && pairs?.baselines.longer, "always preferring the longer response", true],
          ["always A", pairwise && pairs?.baselines.always_a, "always preferring A", true],
          ["a coin", pairwise && pairs?.baselines.random, "tossing a coin", true],
          ["Accuracy, ties half", pairwise?.accuracy_ties_half, "a tie of the judge counts half, so that abstaining gains nothing"],
          ["Accuracy, with ties", pairwise?.accuracy, "how often the preference (A, B or tie) is the label"],
        ]),
        ...lines([-1, 1], "number", [
          ["Cohen’s kappa", pairwise?.cohen_kappa, "agreement beyond chance: 1 is full, 0 that of chance"],
          ["Krippendorff’s alpha, with the judge", pairwise?.krippendorff_alpha, "agreement of people with the judge as one more voter"],
          ["people alone", pairwise?.krippendorff_alpha && pairs?.krippendorff_alpha, "higher than with the judge: it differs from people more than they do from each other", true],
        ]),
      ],
    },
    {
      title: "Scores",
      lines: [
        ...lines([-1, 1], "number", [
          ["Spearman’s correlation", absolute?.spearman, "whether better responses get higher scores: 1 is perfect, 0 is none"],
          ["length of the response", absolute && scores?.length_spearman, "the same of the length alone", true],
          ["Pearson’s correlation", absolute?.pearson, "linear correlation of the expected score with the label"],
          ["Kendall’s tau-b", absolute?.kendall_tau_b, "how much more often two items are in order than not"],
          ["Quadratic weighted kappa", absolute?.quadratic_kappa, "agreement beyond chance, where far misses count more"],
        ]),
        ...lines([0, absolute ? absolute.scale[1] - absolute.scale[0] : 1], "number", [
          ["Mean absolute error", absolute?.mae, "how far the expected score is from the label, in points of the scale: 0 is best"],
          ["always the median", absolute && scores?.median_mae, "always giving the median label", true],
        ]),
        ...lines([0, 1], "share", [
          ["Exact", absolute?.exact, "how often the score is the label, rounded"],
          ["always the most frequent", absolute && scores?.most_frequent_exact, "always giving the most frequent label", true],
          ["Off by at most one", absolute?.off_by_one, "how often the score is the label or next to it"],
        ]),
      ],
    },
    {
      title: "Biases",
      lines: [
        ...lines([0, 1], "share", [
          ["Position consistency", pairwise?.position_consistency, "how often the same response is preferred when the order is swapped"],
          ["Lean to the first", pairwise?.first_lean, "where the orders disagree, how often the response shown first won both times: 50 % leans neither way"],
        ]),
        ...lines([-1, 1], "points", [
          ["Length bias", pairwise?.length_bias, "how much more often the judge prefers the longer response than the labels do: 0 is none"],
        ]),
        ...lines([-1, 1], "number", [
          ["Length correlation", pairwise?.length_correlation, "correlation of being longer with being preferred; labels have one, too, so it is no bias by itself"],
        ]),
      ],
    },
    {
      title: "Probabilities",
      lines: lines([0, 1], "number", [
        ["AUC", reward?.auc, "how often a better item has the higher probability: 0.5 is chance"],
        ["Brier score", reward?.brier, "mean squared error of the probability: 0 is best, always saying one half has 0.25"],
        ["Calibration error (ECE)", reward?.ece, "distance of probabilities from what comes true: 0 is best; noise raises it"],
      ]),
    },
  ];
  return all.filter(group => group.lines.some(line => !line.baseline));
}
