import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Problem, storedKey } from "./api";

export interface Polled<T> {
  data: T | null;
  problem: Problem | null;
  again: () => void;
}

/**
 * Asks again and again while `active`, waiting `pause` milliseconds after each answer. Where a key is missing or may not
 * ask, it stops until there is another key or `again` is called.
 */
export function usePoll<T>(ask: (signal: AbortSignal) => Promise<T>, pause: number, active: boolean): Polled<T> {
  const [data, setData] = useState<T | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [round, setRound] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    if (!active) return;
    const stop = new AbortController();
    let timer = 0;
    const turn = async () => {
      try {
        const found = await latest.current(stop.signal);
        if (stop.signal.aborted) return;
        setData(found);
        setProblem(null);
      } catch (error) {
        if (stop.signal.aborted) return;
        const found = Problem.from(error);
        setProblem(found);
        if (found.status === 401 || found.status === 403) return;
      }
      timer = window.setTimeout(turn, pause);
    };
    void turn();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [active, pause, round, storedKey()]);
  const again = useCallback(() => setRound(round => round + 1), []);
  return { data, problem, again };
}
