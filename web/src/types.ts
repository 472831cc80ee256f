// What the server's routes answer, as far as the page reads it. docs/api.md explains every field.

export interface RubricText {
  criterion: string;
  descriptions: Record<string, string>;
}

export interface Rubric extends RubricText {
  name: string;
  digest: string;
  built_in: boolean;
}

export interface Judgement {
  sample: number;
  seed: number;
  score?: number;
  distribution?: Record<string, number>;
  order?: "AB" | "BA";
  preference?: string;
  probability_a?: number;
  label_mass: number;
  feedback: string | null;
  finish: string;
}

export interface Neutralized {
  field: string;
  text: string;
  start: number;
  end: number;
}

export interface Debug {
  prompt: string;
  answer: string;
  neutralized: Neutralized[];
}

/** What was judged by one rubric. */
export interface Criterion {
  score: number | null;
  expected_score: number | null;
  reward: number | null;
  distribution: Record<string, number> | null;
  label_mass: number;
  entropy: number | null;
  feedback: string | null;
  agreement?: number | null;
  rubric?: { name: string; digest: string };
  weight?: number;
  debug?: Debug;
}

export interface Grade {
  reward: number;
  criteria: Criterion[];
}

/** A picture that a judge saw. */
export interface SeenPicture {
  /** Where it is in the request. */
  pointer: string;
  sha256: string;
  width: number;
  height: number;
  tokens: number;
}

interface Produced {
  id: string;
  object: string;
  label_mass: number;
  label_mass_kind?: string;
  feedback: string | null;
  judgements?: Judgement[];
  model: { name: string; engine: string; digest: string };
  rubric: { name: string; digest: string };
  prompt: { name: string; digest: string };
  usage: { prompt_tokens: number; cached_tokens: number; completion_tokens: number };
  timing_ms: { total: number };
  sampling: { seed: number; temperature: number };
  cached: boolean;
  debug?: Debug;
  pictures?: SeenPicture[];
}

export interface Absolute extends Produced, Omit<Criterion, "label_mass" | "feedback" | "rubric" | "debug"> {
  object: "verdict.absolute";
  criteria?: Criterion[];
  calibration?: { digest: string; raw_reward: number };
}

export interface Relative extends Produced {
  object: "verdict.relative";
  method: string;
  preference: "A" | "B" | "tie";
  probability_a: number;
  consistent: boolean | null;
  grades?: { a: Grade; b: Grade };
}

export type Verdict = Absolute | Relative;

export interface Hosted {
  name: string;
  state: string;
  load: string;
  engine: string | null;
  digest: string | null;
  /** `cpu`, `gpu`, `cuda`, `metal`, `remote` or `none`. */
  device: string | null;
  threads: number | null;
  context: number | null;
  pictures: boolean | null;
  label_mass_kind: string | null;
  prompt: string | null;
  preference_method: string | null;
  /** How well it is known to agree with people, in words. */
  agreement: string | null;
  memory: Memory | null;
  calibrations: Calibration[];
}

/** In bytes; null where the engine does not know. */
export interface Memory {
  weights_bytes: number | null;
  kv_cache_bytes: number | null;
  /** What the model counts for in the server's budget. */
  counted_bytes: number;
}

interface HeldOut {
  accuracy: number;
  brier: number;
  ece: number;
}

/** A map from what a judge says to what people say. */
export interface Calibration {
  object: string;
  kind: string;
  method: string;
  digest: string;
  items: number;
  before: HeldOut;
  after: HeldOut;
}

export interface Info {
  version: string;
  models: Hosted[];
  model: { remote?: Record<string, unknown> } | null;
  limits: Record<string, number | null>;
  features: string[];
  prompts: string[];
  prompt_digests: Record<string, string>;
}

export interface Batch {
  id: string;
  endpoint: string | null;
  errors: { data: { code: string; message: string; line: number | null }[] } | null;
  status: string;
  output_file_id: string | null;
  error_file_id: string | null;
  created_at: number;
  request_counts: { total: number; completed: number; failed: number };
  seconds_left?: number;
}

export interface RecentErrors {
  data: { at: string; request_id: string; method: string; route: string; status: number; code: string; key?: string }[];
}

export interface Usage {
  since: string;
  data: { key: string; requests: number; judgements: number; prompt_tokens: number; completion_tokens: number }[];
}
