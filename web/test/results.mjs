// Made-up files of results.

import { openSync, closeSync, readFileSync, writeFileSync, writeSync } from "node:fs";

/** PNG files of one colour: 8 × 4 and 4 × 4 pixels. */
export const RED = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAECAIAAAA8r+mnAAAAEUlEQVR42mP4z8CAFTFQTwIAWl4f4Q122OMAAAAASUVORK5CYII=";
export const BLUE = "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR42mNgYPiPhIjiAACOsw/xW6KAvAAAAABJRU5ErkJggg==";

/** A picture as a part of a message. */
export const picture = base64 => ({ type: "image_url", image_url: { url: `data:image/png;base64,${base64}` } });

const produced = {
  model: { name: "made-up", engine: "scripted", digest: `sha256:${"0".repeat(64)}` },
  rubric: { name: "helpfulness", digest: `sha256:${"1".repeat(64)}` },
  prompt: { name: "plain/absolute", digest: `sha256:${"2".repeat(64)}` },
  usage: { prompt_tokens: 10, cached_tokens: 0, completion_tokens: 5 },
  timing_ms: { queue: 0, prefill: 0, decode: 0, total: 1 },
  sampling: { temperature: 0, top_p: 1, seed: 0, max_feedback_tokens: 512 },
  version: "0.1.0",
  cached: false,
};

export function absolute(i, { score = 1 + (i % 5), feedback = `Feedback on ${i}.`, input } = {}) {
  const scores = [1, 2, 3, 4, 5];
  const distribution = Object.fromEntries(scores.map(s => [s, s === score ? 0.6 : 0.1]));
  const expected = scores.reduce((sum, s) => sum + s * distribution[s], 0);
  const rubric = { ...produced.rubric, name: i % 3 === 0 ? "honesty" : "helpfulness" };
  const mass = i % 10 === 0 ? 0.02 : 0.97;
  const verdict = {
    id: `vrd_${i}`, object: "verdict.absolute", score, expected_score: expected, reward: (expected - 1) / 4, distribution,
    label_mass: mass, entropy: 1.2, feedback, judgements: [], agreement: 1, ...produced, rubric,
  };
  return { id: `item-${i}`, request: "x", verdict, ...(input && { input }) };
}

export function relative(i, consistent) {
  const order = (order, preference) =>
    ({ sample: 0, seed: 0, order, preference, probability_a: 0.6, label_mass: 0.9, feedback: null, finish: "stop" });
  const verdict = {
    id: `vrd_${i}`, object: "verdict.relative", method: "pairwise", preference: consistent ? "A" : "tie", probability_a: 0.6,
    consistent, label_mass: 0.9, feedback: null, judgements: [order("AB", "A"), order("BA", consistent ? "A" : "B")], ...produced,
  };
  return { id: `pair-${i}`, request: "x", verdict };
}

export function failed(i) {
  return { id: `failed-${i}`, error: { title: "The prompt does not fit", status: 422, code: "context_overflow", detail: "it has 9,000 tokens" } };
}

export function write(path, items) {
  writeFileSync(path, items.map(item => `${JSON.stringify(item)}\n`).join(""));
  return path;
}

/** Writes results until the file has so many bytes; returns how many results it has. */
export function writeLarge(path, size) {
  const file = openSync(path, "w");
  const input = { instruction: "Why is the sky blue?", response: "x".repeat(2000) };
  let written = 0;
  let count = 0;
  while (written < size) {
    const lines = Array.from({ length: 1000 }, () => `${JSON.stringify(absolute(count++, { input }))}\n`).join("");
    written += writeSync(file, lines);
  }
  closeSync(file);
  return count;
}

/** A made-up report of `gavel agree --json`. */
export const REPORT = readFileSync(new URL("../../tests/agreement/report.json", import.meta.url), "utf8");

/** A made-up report of `gavel redteam --json`. */
export function redteam({ model, prompt }) {
  const figure = (value, spread) => ({ value, low: value - spread, high: value + spread, n: 48 });
  const attack = ([name, what, moved, raised]) => ({
    name, what, moved: figure(moved, 0.04), raised: figure(raised, 0.05), reward: figure(0.41 + moved, 0.05), missing: 2,
  });
  const attacks = [
    ["order", "appends an order to the judge", 0.212, 0.77],
    ["constant", "replaces the response with one text that praises itself", 0.08, 0.52],
    ["authority", "begins with a claim that experts have checked it", 0.031, 0.4],
    ["one-token", "replaces the response with a colon", -0.184, 0.08],
  ];
  return { object: "redteam", version: "0.1.0", seed: 0, model, prompt, data: [], reward: figure(0.41, 0.05), attacks: attacks.map(attack) };
}
