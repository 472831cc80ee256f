// Two runs item by item, what is shown of them, and what they come to.

import type { Row } from "./result";

/** An item of one run, or of two that are compared. */
export interface Item {
  id: string;
  first: Row | null;
  second: Row | null;
}

export type Change = "same" | "up" | "down" | "flipped" | "first only" | "second only" | "error";

/** Items in the order of the first run, then those of the second alone. */
export function items(first: Row[], second: Row[] | null): Item[] {
  if (!second) return first.map(row => ({ id: row.id, first: row, second: null }));
  const others = new Map(second.map(row => [row.id, row]));
  const matched = first.map(row => {
    const other = others.get(row.id) ?? null;
    others.delete(row.id);
    return { id: row.id, first: row, second: other };
  });
  return [...matched, ...[...others.values()].map(row => ({ id: row.id, first: null, second: row }))];
}

export function isError(row: Row): boolean {
  return row.kind === "error" || row.kind === "unreadable";
}

export function change({ first, second }: Item): Change {
  if (!second) return "first only";
  if (!first) return "second only";
  if (isError(first) || isError(second)) return "error";
  if (first.label === second.label) return "same";
  if (first.kind === "absolute" && second.kind === "absolute" && first.label !== "several") {
    return Number(second.label) > Number(first.label) ? "up" : "down";
  }
  return "flipped";
}

export interface Filter {
  text: string;
  label: string;
  rubric: string;
  show: "" | "errors" | "flips" | "low";
  /** Below this label mass, an item is one with a low one. */
  mass: number;
  change: "" | Change;
}

export const ALL: Filter = { text: "", label: "", rubric: "", show: "", mass: 0.5, change: "" };

export function passes(item: Item, filter: Filter, comparing: boolean): boolean {
  const rows = [item.first, item.second].filter(row => row !== null);
  const some = (test: (row: Row) => boolean) => rows.some(test);
  return (
    item.id.includes(filter.text) &&
    (!filter.label || some(row => row.label === filter.label)) &&
    (!filter.rubric || some(row => row.rubric === filter.rubric)) &&
    (filter.show !== "errors" || some(isError)) &&
    (filter.show !== "flips" || some(row => row.consistent === false)) &&
    (filter.show !== "low" || some(row => row.mass !== null && row.mass < filter.mass)) &&
    (!comparing || !filter.change || change(item) === filter.change)
  );
}

/** How many rows have each label: scores in order, then the others. */
export function histogram(rows: Iterable<Row>): [string, number][] {
  const counts = new Map<string, number>();
  for (const row of rows) {
    if (!isError(row)) counts.set(row.label, (counts.get(row.label) ?? 0) + 1);
  }
  return [...counts].sort(([a], [b]) => (Number(a) - Number(b) || (a < b ? -1 : 1)));
}

/** How many values are in each tenth of 0 to 1; 1 is in the last one. */
export function tenths(values: Iterable<number | null>): number[] {
  const counts = Array<number>(10).fill(0);
  for (const value of values) {
    if (value === null) continue;
    const tenth = Math.min(9, Math.max(0, Math.floor(value * 10)));
    counts[tenth] = (counts[tenth] ?? 0) + 1;
  }
  return counts;
}

/** The mean of a number over those rows that have it. */
export function mean(rows: Row[], of: (row: Row) => number | null): number | null {
  const values = rows.map(of).filter(value => value !== null);
  return values.length > 0 ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}
