// A list of any length, of which only what is in view is drawn.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { fixed } from "../text";
import { change, type Item } from "./pairs";
import type { Row } from "./result";

/** The height of a row in CSS pixels, as the style sheet has it. */
const HEIGHT = 32;
const MARGIN = 10;

interface ListProps {
  items: Item[];
  comparing: boolean;
  chosen: Item | null;
  choose: (item: Item) => void;
}

export function List({ items, comparing, chosen, choose }: ListProps) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(480);
  useLayoutEffect(() => {
    const seen = new ResizeObserver(() => box.current && setHeight(box.current.clientHeight));
    if (box.current) seen.observe(box.current);
    return () => seen.disconnect();
  }, []);
  // Another list begins at its top.
  const [count, first] = [items.length, items[0]?.id];
  useEffect(() => box.current?.scrollTo(0, 0), [count, first]);

  const at = chosen ? items.findIndex(item => item.first === chosen.first && item.second === chosen.second) : -1;
  const go = (to: number) => {
    const index = Math.max(0, Math.min(items.length - 1, to));
    const item = items[index];
    if (!item || !box.current) return;
    choose(item);
    const { scrollTop, clientHeight } = box.current;
    if (index * HEIGHT < scrollTop) box.current.scrollTop = index * HEIGHT;
    if ((index + 1) * HEIGHT > scrollTop + clientHeight) box.current.scrollTop = (index + 1) * HEIGHT - clientHeight;
  };
  const page = Math.max(1, Math.floor(height / HEIGHT) - 1);
  const steps: Record<string, number> = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    PageDown: at + page,
    PageUp: at - page,
    Home: 0,
    End: items.length - 1,
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const to = steps[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  };
  const from = Math.max(0, Math.floor(top / HEIGHT) - MARGIN);
  const to = Math.min(items.length, Math.ceil((top + height) / HEIGHT) + MARGIN);
  const shown = at >= from && at < to;
  return (
    <>
      <Heading comparing={comparing} />
      <div
        ref={box}
        class="list"
        role="listbox"
        aria-label="Items"
        tabIndex={0}
        aria-activedescendant={shown ? `item-${at}` : undefined}
        onScroll={event => setTop(event.currentTarget.scrollTop)}
        onKeyDown={onKeyDown}
      >
        <div role="presentation" style={{ height: `${items.length * HEIGHT}px`, position: "relative" }}>
          {items.slice(from, to).map((item, i) => (
            <div
              key={from + i}
              id={`item-${from + i}`}
              class="item"
              role="option"
              aria-selected={from + i === at}
              aria-setsize={items.length}
              aria-posinset={from + i + 1}
              style={{ top: `${(from + i) * HEIGHT}px` }}
              onClick={() => choose(item)}
            >
              <Line item={item} comparing={comparing} />
            </div>
          ))}
        </div>
      </div>
    </>
  );
}

/** What the columns have; those who listen hear it with each item in full. */
function Heading({ comparing }: { comparing: boolean }) {
  const columns = comparing ? ["first", "second", "change"] : ["label", "value", "mass"];
  return (
    <div class="heading" aria-hidden="true">
      <span class="id">id</span>
      {columns.map(name => <span key={name} class="col">{name}</span>)}
    </div>
  );
}

function Line({ item, comparing }: { item: Item; comparing: boolean }) {
  const row = item.first ?? item.second;
  if (!row) return null;
  if (comparing) {
    return (
      <>
        <span class="id" dir="auto">{item.id}</span>
        <span class={`col ${tone(item.first)}`}>{item.first?.label ?? "–"}</span>
        <span class={`col ${tone(item.second)}`}>{item.second?.label ?? "–"}</span>
        <span class="col">{change(item)}</span>
      </>
    );
  }
  return (
    <>
      <span class="id" dir="auto">{item.id}</span>
      {row.consistent === false && <span>flip</span>}
      <span class={`col ${tone(row)}`}>{row.label}</span>
      <span class="col">{row.value !== null && fixed(row.value)}</span>
      <span class="col">{row.mass !== null && fixed(row.mass)}</span>
    </>
  );
}

function tone(row: Row | null): string {
  return row && (row.kind === "error" || row.kind === "unreadable") ? "wrong" : "label";
}
