// The frame of the page: which screen is shown, and the key.

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { getJson, Problem } from "./api";
import { Jobs } from "./jobs";
import { KeyButton, KeyDialog } from "./key_dialog";
import { ProblemBox } from "./parts";
import { Playground } from "./playground/playground";
import { ReviewScreen } from "./review/review";
import { Runs } from "./runs/runs";
import { ServerScreen } from "./server/server";
import { TrustScreen } from "./trust/trust";
import type { Info } from "./types";

const SCREENS = { playground: "Playground", runs: "Runs", review: "Review", trust: "Trust", jobs: "Jobs", server: "Server" };
type Screen = keyof typeof SCREENS;

/** The screen in the address, and what follows its name. */
function route(): { screen: Screen; rest: string } {
  const [name = "", ...rest] = location.hash.replace(/^#\/?/, "").split("/");
  return { screen: name in SCREENS ? (name as Screen) : "playground", rest: rest.join("/") };
}

function Page() {
  const [{ screen, rest }, setRoute] = useState(route);
  const [info, setInfo] = useState<Info | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [keys, setKeys] = useState(0);
  const [handed, setHanded] = useState<File | null>(null);
  useEffect(() => {
    const changed = () => setRoute(route());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  const load = () => {
    setProblem(null);
    getJson<Info>("/v1/info").then(setInfo, error => setProblem(Problem.from(error)));
  };
  useEffect(load, [keys]);
  useEffect(() => {
    document.title = `${SCREENS[screen]} – Gavel`;
  }, [screen]);
  const openRun = (file: File) => {
    setHanded(file);
    location.hash = "#/runs";
  };
  const keyChanged = () => setKeys(keys => keys + 1);
  // Every screen stays as it was left.
  const shown = {
    playground: <Playground info={info} linked={screen === "playground" ? rest : ""} key_changed={keys} />,
    runs: <Runs handed={handed} />,
    review: <ReviewScreen active={screen === "review"} key_changed={keys} />,
    trust: <TrustScreen active={screen === "trust"} info={info} key_changed={keys} />,
    jobs: <Jobs active={screen === "jobs"} openRun={openRun} />,
    server: <ServerScreen active={screen === "server"} key_changed={keys} />,
  };
  return (
    <>
      <header>
        <h1>Gavel</h1>
        <nav aria-label="Screens">
          {Object.entries(SCREENS).map(([name, title]) => (
            <a key={name} href={`#/${name}`} aria-current={name === screen ? "page" : undefined}>{title}</a>
          ))}
          <a href="/docs">Docs</a>
        </nav>
        <KeyButton changed={keyChanged} />
      </header>
      <main>
        <ProblemBox problem={problem} again={load} />
        {Object.entries(shown).map(([name, content]) => (
          <section key={name} hidden={name !== screen} aria-labelledby={`screen-${name}`}>
            <h2 id={`screen-${name}`} class="sr">{SCREENS[name as Screen]}</h2>
            {content}
          </section>
        ))}
      </main>
      <KeyDialog changed={keyChanged} />
    </>
  );
}

const root = document.getElementById("app");
if (root) render(<Page />, root);
