// The queue for people: one item at a time, blind until it is labelled, by keys.

import { useEffect, useRef, useState } from "preact/hooks";
import { Problem } from "../api";
import { Field, ProblemBox } from "../parts";
import { AgreementView } from "./agreement";
import { ItemTexts } from "./item";
import { judged, keysOf, NameNeeded, Queue, type Review } from "./queue";

/** Milliseconds between two looks at an empty queue. */
const PAUSE = 10_000;
/** Milliseconds between two claims of the same item, which lasts three times as long, while somebody works on it. */
const RENEWED = 5 * 60_000;
/** How many labels can be taken back. */
const KEPT = 20;

/** What was done with an item. */
interface Done {
  review: Review;
  /** Null: it was skipped. */
  label: string | null;
}

export function ReviewScreen({ active, key_changed }: { active: boolean; key_changed: number }) {
  const [queue] = useState(() => new Queue());
  const busy = useRef(false);
  const [working, setWorking] = useState(false);
  const [review, setReview] = useState<Review | null>(null);
  /** Notes by item, also of those that somebody comes back to. */
  const [notes, setNotes] = useState<Record<string, string>>({});
  const [past, setPast] = useState<Done[]>([]);
  const [shown, setShown] = useState<Done | null>(null);
  const [labelled, setLabelled] = useState<ReadonlySet<string>>(new Set());
  const [state, setState] = useState<"new" | "named" | "empty" | "item">("new");
  const [said, say] = useState("");
  const [problem, setProblem] = useState<{ problem: Problem; again: () => void } | null>(null);
  /** Whether letters and digits do something: those who speak to their computer may not want that. */
  const [byKeys, setByKeys] = useState(true);
  /** A label that could not be stored. */
  const [lost, setLost] = useState("");

  /** One thing at a time; what fails can be tried again, and nothing on the screen is lost. */
  const attempt = async (work: () => Promise<void>) => {
    if (busy.current) return;
    busy.current = true;
    setWorking(true);
    setProblem(null);
    try {
      await work();
    } catch (error) {
      if (error instanceof NameNeeded) setState("named");
      else setProblem({ problem: Problem.from(error), again: () => void attempt(work) });
    }
    busy.current = false;
    setWorking(false);
  };
  const open = (review: Review | null) => {
    setReview(review);
    setState(review ? "item" : "empty");
  };
  const advance = async () => open(await queue.next());
  const next = () => void attempt(advance);
  const finish = async (done: Done) => {
    setPast(past => [...past.filter(before => before.review.id !== done.review.id), done].slice(-KEPT));
    setShown(null);
    await advance();
  };
  const label = (of: Review, given: string) =>
    attempt(async () => {
      setLost("");
      const stored = await queue.label(of.id, given, notes[of.id] ?? "");
      if (stored) {
        say(`Labelled ${given}.`);
        setLabelled(labelled => new Set(labelled).add(of.id));
        return finish({ review: stored, label: given });
      }
      say("");
      setLost(given);
      await advance();
    });
  const skip = (of: Review) =>
    attempt(async () => {
      await queue.skip(of.id);
      say("Skipped.");
      await finish({ review: of, label: null });
    });
  const undo = () =>
    attempt(async () => {
      const last = past.at(-1);
      if (!last) return;
      // A skipped item has to be claimed again, a labelled one is still held.
      const back = last.label === null ? await queue.claim(last.review.id) : last.review;
      setPast(past => past.slice(0, -1));
      if (back) {
        open(back);
        say(last.label === null ? "Back at the item that you skipped." : `Back at the item that you labelled ${last.label}.`);
      } else say("Others have taken the item that you skipped.");
    });
  const show = () => {
    const last = past.at(-1);
    if (!last) return;
    // Who knows what the judge says does not label any more without knowing it.
    setShown(last);
    setPast([]);
  };

  useEffect(() => {
    if (active && state === "new") next();
  }, [active]);
  // Another key is another reviewer. While a request waits for the key, it goes on by itself.
  useEffect(() => {
    if (key_changed === 0 || busy.current) return;
    if (active) next();
    else setState("new");
  }, [key_changed]);
  useEffect(() => {
    if (!active || state !== "empty") return;
    const timer = setInterval(next, PAUSE);
    return () => clearInterval(timer);
  }, [active, state]);
  useRenewed(queue, active && state === "item" ? review : null);

  const keys = keysOf(review?.options ?? []);
  const onKeyDown = useRef<(event: KeyboardEvent) => void>(() => undefined);
  onKeyDown.current = event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || document.querySelector("dialog[open]")) return;
    const target = event.target as HTMLElement;
    if (target.matches("input, textarea, select")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    const key = event.key.toLowerCase();
    const option = review && state === "item" ? keys.get(key) : undefined;
    const own: Record<string, () => void> = {
      u: () => void undo(),
      v: show,
      ...(review && state === "item" && { s: () => void skip(review), n: () => document.getElementById("review-note")?.focus() }),
    };
    const work = option !== undefined && review ? () => void label(review, option) : own[key];
    if (!work) return;
    event.preventDefault();
    work();
  };
  useEffect(() => {
    if (!active || !byKeys) return;
    const listen = (event: KeyboardEvent) => onKeyDown.current(event);
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, [active, byKeys]);

  const last = past.at(-1);
  return (
    <>
      {problem && <ProblemBox problem={problem.problem} again={problem.again} />}
      {lost && (
        <div class="problem" role="alert">
          <p><strong>Your label “{lost}” was not stored.</strong> Your claim of that item had ended, and others have it now.</p>
        </div>
      )}
      {state === "named" && <NameForm named={name => { queue.call(name); next(); }} />}
      {state === "new" && !problem && <p class="hint">Looking for an item…</p>}
      {state === "empty" && (
        <div class="card">
          <p role="status">There is nothing to review now. This screen looks again every ten seconds.</p>
          <p class="hint">How items come here: <a href="/docs/reviews">reviews</a>.</p>
        </div>
      )}
      {state === "item" && review && <Item review={review} working={working} keys={keys} note={notes[review.id] ?? ""} setNote={note => setNotes(notes => ({ ...notes, [review.id]: note }))} label={label} skip={skip} />}
      <div class="row past">
        <span role="status">{said}</span>
        {last && (
          <>
            <button type="button" disabled={working} onClick={() => void undo()}>Undo <kbd>U</kbd></button>
            <button type="button" onClick={show}>Show what the judge said <kbd>V</kbd></button>
          </>
        )}
        {queue.name !== null && state !== "named" && (
          <span class="faint">
            Reviewer {queue.name} <button type="button" class="link" onClick={() => setState("named")}>change</button>
          </span>
        )}
        <label class="faint"><input type="checkbox" checked={byKeys} onChange={e => setByKeys(e.currentTarget.checked)} /> use keys</label>
        {labelled.size > 0 && <span class="faint">{labelled.size} labelled in this tab</span>}
      </div>
      {shown && <Outcome of={shown} />}
      <AgreementView queue={queue} active={active && state !== "new"} again={shown} />
    </>
  );
}

/** Claims the item again from time to time while somebody is there. */
function useRenewed(queue: Queue, review: Review | null): void {
  useEffect(() => {
    if (!review) return;
    let used = Date.now();
    const seen = () => void (used = Date.now());
    const events = ["keydown", "pointermove", "scroll"] as const;
    for (const event of events) addEventListener(event, seen, { passive: true, capture: true });
    const renew = () => {
      // The label itself says if it does not work.
      if (Date.now() - used < RENEWED) queue.claim(review.id).catch(() => undefined);
    };
    const timer = setInterval(renew, RENEWED);
    return () => {
      clearInterval(timer);
      for (const event of events) removeEventListener(event, seen, { capture: true });
    };
  }, [review?.id]);
}

interface ItemProps {
  review: Review;
  working: boolean;
  keys: Map<string, string>;
  note: string;
  setNote: (note: string) => void;
  label: (of: Review, given: string) => Promise<void>;
  skip: (of: Review) => Promise<void>;
}

function Item({ review, working, keys, note, setNote, label, skip }: ItemProps) {
  const heading = useRef<HTMLHeadingElement>(null);
  // Each item begins at its top, for those who listen, too.
  useEffect(() => {
    scrollTo(0, 0);
    heading.current?.focus({ preventScroll: true });
  }, [review.id]);
  const keyOf = (option: string) => [...keys].find(([, of]) => of === option)?.[0].toUpperCase();
  return (
    <article>
      <h3 ref={heading} tabIndex={-1}>{review.kind === "relative" ? "Which response is better?" : "Which score does the response get?"}</h3>
      <ItemTexts review={review} />
      <div class="labelling card" role="group" aria-label="Label">
        {review.options.length === 0 && <p class="wrong">The rubric of this item is not on the server any more, so it has no labels. Skip it.</p>}
        <p class="row">
          {review.options.map(option => (
            <button key={option} type="button" class="option" disabled={working} aria-pressed={review.label === option} onClick={() => void label(review, option)}>
              {option} {keyOf(option) && <kbd>{keyOf(option)}</kbd>}
            </button>
          ))}
          <button type="button" disabled={working} onClick={() => void skip(review)}>Skip <kbd>S</kbd></button>
        </p>
        <label class="note" for="review-note">
          Note <kbd>N</kbd>
          <input id="review-note" maxLength={4000} dir="auto" value={note} onInput={e => setNote(e.currentTarget.value)} />
        </label>
      </div>
    </article>
  );
}

/** What the judge and others said of an item, once it is labelled. */
function Outcome({ of: { review, label } }: { of: Done }) {
  const judge = judged(review);
  const others = review.labels ?? [];
  const probability = (review.verdict as { probability_a?: number } | null)?.probability_a;
  return (
    <section class="card" aria-label="What others said">
      <h3>{label === null ? "You skipped the item before" : `You said ${label}`}</h3>
      {label === null ? (
        <p class="hint">What the judge says is shown to those who label it.</p>
      ) : (
        <>
          <p>
            {judge === null ? "There is no verdict of a judge." : `The judge said ${judge}${typeof probability === "number" ? ` (probability of A: ${probability.toFixed(2)})` : ""}: ${judge === label ? "the same" : "not the same"}.`}
          </p>
          {others.length > 1 && (
            <ul>
              {others.map(other => (
                <li key={other.reviewer} class="text">{other.reviewer}: {other.label}{other.note && ` – ${other.note}`}</li>
              ))}
            </ul>
          )}
          <p class="faint">{review.labelled} of {review.wanted} labels. You have seen this, so the label stays.</p>
        </>
      )}
    </section>
  );
}

function NameForm({ named }: { named: (name: string) => void }) {
  const [name, setName] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    if (name.trim()) named(name.trim());
  };
  return (
    <form class="card" onSubmit={submit}>
      <Field label="Your name" hint="This server has no keys, so labels are kept under the name that you give. This tab remembers it.">
        <input maxLength={64} autocomplete="off" value={name} onInput={e => setName(e.currentTarget.value)} />
      </Field>
      <p><button type="submit" class="primary">Review</button></p>
    </form>
  );
}
