// Numbers of `/metrics`, in Prometheus' text format.

/** A sample: its name, its labels and its value. */
interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export function parse(text: string): Sample[] {
  return text.split("\n").flatMap(line => {
    const [, name, labels = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (!name || value === undefined) return [];
    const pairs = labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g);
    return [{ name, labels: Object.fromEntries([...pairs].map(([, key, text]) => [key, text])), value: Number(value) }];
  });
}

/** The sum of a metric over all of its labels that `test` takes. */
export function sum(samples: Sample[], name: string, test: (labels: Record<string, string>) => boolean = () => true): number {
  return samples.filter(sample => sample.name === name && test(sample.labels)).reduce((sum, { value }) => sum + value, 0);
}

/** What the page shows of the server's load at one time. */
export interface Reading {
  /** Milliseconds. */
  at: number;
  requests: number;
  promptTokens: number;
  writtenTokens: number;
  queue: number;
  running: number;
  lines: number;
  errors: number;
  kv: { running: number; cached: number; free: number };
}

/** The page's own looks at the server. */
const OWN = ["/metrics", "/v1/info", "/v1/models", "/v1/usage", "/v1/errors"];

export function reading(text: string, at: number): Reading {
  const samples = parse(text);
  const kv = (state: string) => sum(samples, "gavel_kv_cache_tokens", labels => labels.state === state);
  const tokens = (type: string) => sum(samples, "gavel_tokens_total", labels => labels.type === type);
  return {
    at,
    requests: sum(samples, "gavel_http_requests_total", labels => !OWN.includes(labels.route ?? "")),
    promptTokens: tokens("prompt"),
    writtenTokens: tokens("completion"),
    queue: sum(samples, "gavel_queue_depth"),
    running: sum(samples, "gavel_sequences_running"),
    lines: sum(samples, "gavel_batch_lines_running"),
    errors: sum(samples, "gavel_requests_rejected_total"),
    kv: { running: kv("running"), cached: kv("cached"), free: kv("free") },
  };
}

/** A counter's growth a second between readings that follow each other; a restart of the server counts as nothing. */
export function rates(readings: Reading[], of: (reading: Reading) => number): number[] {
  return readings.slice(1).map((next, i) => {
    const before = readings[i] ?? next;
    const seconds = (next.at - before.at) / 1000;
    return seconds > 0 ? Math.max(0, of(next) - of(before)) / seconds : 0;
  });
}
