// The reports of `gavel agree --json` and `gavel redteam --json`: their types, and the check that a text is one.

export interface Figure {
  value: number;
  low: number | null;
  high: number | null;
  n: number;
}

type MaybeFigure = Figure | null;
type Figures<Names extends string> = Record<Names, MaybeFigure>;

const PAIR_FIGURES = ["accuracy_non_ties", "accuracy_ties_half", "accuracy", "cohen_kappa", "position_consistency", "first_lean", "length_bias"] as const;
const SCORE_FIGURES = ["pearson", "spearman", "kendall_tau_b", "mae", "quadratic_kappa", "exact", "off_by_one"] as const;

export type PairFigures = Figures<(typeof PAIR_FIGURES)[number]>;
export type ScoreFigures = Figures<(typeof SCORE_FIGURES)[number]>;

export interface Pairwise extends PairFigures, Figures<"macro_accuracy_non_ties" | "krippendorff_alpha" | "length_correlation"> {
  /** By label, then by preference: A, B, tie. */
  confusion: number[][];
  by_set: Record<string, PairFigures>;
  by_subset: Record<string, PairFigures>;
}

export interface Absolute extends ScoreFigures {
  scale: [number, number];
  /** By label, then by score, from the lowest to the highest. */
  confusion: number[][];
  by_set: Record<string, ScoreFigures>;
  by_subset: Record<string, ScoreFigures>;
}

export interface Bin {
  low: number;
  high: number;
  predicted: number;
  observed: number;
  n: number;
}

export interface Probabilities extends Figures<"auc" | "brier" | "ece"> {
  of: string;
  reliability: Bin[];
}

export interface Origin {
  name: string;
  digest: string;
}

export interface Judge {
  name: string;
  model: (Origin & { engine: string }) | null;
  prompt: Origin | null;
  coverage: { items: number; judged: number; unscored: number; failed: number };
  absolute: Absolute | null;
  pairwise: Pairwise | null;
  reward: Probabilities | null;
}

export interface Labels {
  absolute: Figures<"length_spearman" | "median_mae" | "most_frequent_exact"> | null;
  pairwise: { human_ceiling: MaybeFigure; baselines: Figures<"longer" | "always_a" | "random">; krippendorff_alpha: MaybeFigure } | null;
}

interface Made {
  version: string;
  data: { path: string; items: number; unlabelled: number }[];
}

export interface Agreement extends Made {
  object: "agreement";
  sample: number | null;
  split: string | null;
  resamples: number;
  judges: Judge[];
  labels: Labels;
}

export interface Attack {
  name: string;
  what: string;
  moved: MaybeFigure;
  raised: MaybeFigure;
  reward: MaybeFigure;
  missing: number;
}

export interface Redteam extends Made {
  object: "redteam";
  model: Judge["model"];
  prompt: Origin | null;
  reward: MaybeFigure;
  attacks: Attack[];
}

export type Report = Agreement | Redteam;

/** A text that is no report; the message says why, and what to open. */
export class WrongReport extends Error {}

/** Reads a report. Fields that the page does not show are not looked at. */
export function readReport(text: string): Report {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new WrongReport("It is no JSON. Open what `gavel agree --json` or `gavel redteam --json` has printed.");
  }
  const object = (value as { object?: unknown } | null)?.object;
  if (object === "agreement") AGREEMENT(value, "");
  else if (object === "redteam") REDTEAM(value, "");
  else throw new WrongReport("It is no report. Open what `gavel agree --json` or `gavel redteam --json` has printed.");
  return value as Report;
}

/** Throws where a value is not as it should be; `at` is its place. */
type Check = (value: unknown, at: string) => void;

function wrong(at: string, what: string): never {
  throw new WrongReport(`It is no whole report: ${at.slice(1)} must be ${what}.`);
}

const number: Check = (value, at) => void (Number.isFinite(value) || wrong(at, "a number"));
const text: Check = (value, at) => void (typeof value === "string" || wrong(at, "a text"));
const maybe = (check: Check): Check => (value, at) => value === null || check(value, at);
const list = (check: Check): Check => (value, at) =>
  Array.isArray(value) ? value.forEach((item, i) => check(item, `${at}.${i}`)) : wrong(at, "a list");
const each = (check: Check): Check => (value, at) => members(value, at).forEach(([name, member]) => check(member, `${at}.${name}`));
const object = (fields: Record<string, Check>): Check => (value, at) => {
  const found = Object.fromEntries(members(value, at));
  for (const [name, check] of Object.entries(fields)) check(found[name], `${at}.${name}`);
};

function members(value: unknown, at: string): [string, unknown][] {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : wrong(at, "an object");
}

function named(names: readonly string[]): Record<string, Check> {
  return Object.fromEntries(names.map(name => [name, maybe(FIGURE)]));
}

/** A table of counts that is as wide as it is high. */
const square = (size: number): Check => (value, at) => {
  list(list(number))(value, at);
  const rows = value as number[][];
  if (rows.length !== size || rows.some(row => row.length !== size)) wrong(at, `a table of ${size} rows and columns`);
};

const FIGURE = object({ value: number, low: maybe(number), high: maybe(number), n: number });
const ORIGIN = object({ name: text, digest: text });
const MODEL = object({ name: text, digest: text, engine: text });
const DATA = list(object({ path: text, items: number, unlabelled: number }));
const ABSOLUTE: Check = (value, at) => {
  object({ ...named(SCORE_FIGURES), scale: list(number), by_set: each(object(named(SCORE_FIGURES))), by_subset: each(object(named(SCORE_FIGURES))) })(value, at);
  const { scale, confusion } = value as Absolute;
  if (scale.length !== 2) wrong(`${at}.scale`, "two numbers");
  square(scale[1] - scale[0] + 1)(confusion, `${at}.confusion`);
};
const PAIRWISE = object({
  ...named([...PAIR_FIGURES, "macro_accuracy_non_ties", "krippendorff_alpha", "length_correlation"]),
  confusion: square(3),
  by_set: each(object(named(PAIR_FIGURES))),
  by_subset: each(object(named(PAIR_FIGURES))),
});
const PROBABILITIES = object({
  ...named(["auc", "brier", "ece"]),
  of: text,
  reliability: list(object({ low: number, high: number, predicted: number, observed: number, n: number })),
});
const JUDGE = object({
  name: text,
  model: maybe(MODEL),
  prompt: maybe(ORIGIN),
  coverage: object({ items: number, judged: number, unscored: number, failed: number }),
  absolute: maybe(ABSOLUTE),
  pairwise: maybe(PAIRWISE),
  reward: maybe(PROBABILITIES),
});
const LABELS = object({
  absolute: maybe(object(named(["length_spearman", "median_mae", "most_frequent_exact"]))),
  pairwise: maybe(object({ ...named(["human_ceiling", "krippendorff_alpha"]), baselines: object(named(["longer", "always_a", "random"])) })),
});
const AGREEMENT = object({ version: text, data: DATA, sample: maybe(number), split: maybe(text), resamples: number, judges: list(JUDGE), labels: LABELS });
const REDTEAM = object({
  version: text,
  data: DATA,
  model: maybe(MODEL),
  prompt: maybe(ORIGIN),
  reward: maybe(FIGURE),
  attacks: list(object({ ...named(["moved", "raised", "reward"]), name: text, what: text, missing: number })),
});
