// Numbers and texts as the page shows them.

export function fixed(value: number | null | undefined, digits = 2): string {
  return typeof value === "number" ? value.toFixed(digits) : "–";
}

export function percent(value: number): string {
  return `${(value * 100).toFixed(1)} %`;
}

export function count(value: number): string {
  return value.toLocaleString("en-GB");
}

export function bytes(value: number): string {
  if (value < 1e3) return `${value} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} kB`;
  if (value < 1e9) return `${(value / 1e6).toFixed(1)} MB`;
  return `${(value / 1e9).toFixed(2)} GB`;
}

export function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, "").slice(0, 12);
}

/** What a label mass means for the reader of a verdict. */
export function massInWords(mass: number): string {
  if (mass >= 0.9) return "the judge answered: nearly all its probability was on the labels";
  if (mass >= 0.5) return "the judge mostly answered; some probability was on other words";
  if (mass >= 0.05) return "the judge wanted to say something else; do not rely on this verdict";
  return "a forced guess: the judge put nearly no probability on any label";
}

/** How sure a distribution is, by its entropy as a share of the largest possible one. */
export function certaintyInWords(distribution: Record<string, number>): string {
  const values = Object.values(distribution).filter(p => p > 0);
  const entropy = -values.reduce((sum, p) => sum + p * Math.log(p), 0);
  const share = entropy / Math.log(Math.max(2, Object.keys(distribution).length));
  if (share < 0.25) return "certain";
  if (share < 0.6) return "fairly certain";
  if (share < 0.85) return "uncertain";
  return "nearly undecided";
}

/** The scale of texts or numbers that are named by scores. */
export function scale(named: Record<string, unknown>): string {
  const scores = Object.keys(named).map(Number);
  return `${Math.min(...scores)}–${Math.max(...scores)}`;
}
