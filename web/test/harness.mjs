// A real server with the scripted engine, and a real Chromium in front of it.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const GAVEL = process.env.GAVEL_BIN;
const BROWSERS = ["chromium", "chromium-browser", "google-chrome"];
/** The source of axe. */
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What the scripted engine answers, by a word in the prompt. */
const ANSWERS = `
[[answer]]
when = "HOLD"
hold = true

[[answer]]
when = "SURE"
masses = [0.01, 0.01, 0.01, 0.02, 0.93]

[[answer]]
when = "GUESS"
masses = [0.01, 0.005, 0.005, 0.005, 0.005]

[[answer]]
when = "HTML"
say = '''<img src=x onerror="window.ran=1"><script>window.ran=1</script> \u202eright to left\u202c zero\u200bwidth'''

[[answer]]
when = "<response A>\\nFAIL"
fail = "it was told to"

[[answer]]
when = "SLOW"
delay_ms = 300
`;

/** A server on a free port, with folders of its own. */
export class Server {
  static async start({ keys = [] } = {}) {
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), "gavel-web-"));
    server.keys = Object.fromEntries(keys.map(([name, scope, ...more]) => [name, server.key(name, scope, ...more)]));
    const answers = join(server.folder, "answers.toml");
    writeFileSync(answers, ANSWERS);
    const args = ["serve", "--engine", "scripted", "--port", "0", "--scripted-answers", answers];
    server.process = spawn(GAVEL, args, { env: server.environment(), stdio: ["ignore", "pipe", "pipe"] });
    server.url = await server.address();
    return server;
  }

  environment() {
    const inside = name => join(this.folder, name);
    return { ...process.env, GAVEL_DATA_DIR: inside("data"), GAVEL_CACHE_DIR: inside("cache"), NO_COLOR: "1" };
  }

  /** The address, as soon as the server is ready. */
  address() {
    return new Promise((done, failed) => {
      const said = [];
      let address;
      const look = line => {
        said.push(line);
        address = /listening on (http:\S+)/.exec(line)?.[1] ?? address;
        if (address && said.some(line => / ready\b/.test(line))) done(address);
      };
      for (const stream of [this.process.stdout, this.process.stderr]) createInterface(stream).on("line", look);
      this.process.on("exit", code => failed(new Error(`the server ended with ${code}:\n${said.join("\n")}`)));
    });
  }

  run(...args) {
    const { status, stdout, stderr } = spawnSync(GAVEL, args, { env: this.environment(), encoding: "utf8" });
    if (status !== 0) throw new Error(`gavel ${args.join(" ")}: ${stderr}`);
    return stdout.trim();
  }

  key(name, scope, ...more) {
    return this.run("keys", "create", "--name", name, "--scope", scope, ...more);
  }

  /** Lets every key that has an end have ended. */
  expireKeys() {
    const file = join(this.folder, "data", "keys.toml");
    writeFileSync(file, readFileSync(file, "utf8").replaceAll(/expires = .*/g, 'expires = "2001-01-01T00:00:00Z"'));
  }

  /** The answer of a route, which has to be a good one. */
  async ask(path, { key, body } = {}) {
    const headers = { ...(key && { Authorization: `Bearer ${key}` }), ...(body && { "Content-Type": "application/json" }) };
    const response = await fetch(this.url + path, { method: body ? "POST" : "GET", headers, ...(body && { body: JSON.stringify(body) }) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
    return JSON.parse(text);
  }

  /** Stores a report, as the operator does. */
  report(name, text) {
    const folder = join(this.folder, "data", "reports");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${name}.json`), text);
  }

  /** Lets all claims of reviews end now. */
  endClaims() {
    const change = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=30); db.execute('UPDATE seats SET until = 0'); db.commit()";
    const { status, stderr } = spawnSync("python3", ["-c", change, join(this.folder, "data", "gavel.db")], { encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
  }

  kill() {
    return new Promise(done => {
      if (this.process.exitCode !== null || this.process.signalCode !== null) return done();
      this.process.removeAllListeners("exit").on("exit", done).kill("SIGKILL");
    });
  }

  async stop() {
    await this.kill();
    rmSync(this.folder, { recursive: true });
  }
}

/** A page of a server. What goes wrong in it is in `wrong`, where nothing should be. */
export async function openPage(server, { width = 1280, height = 900, scheme = "light", path = "/" } = {}) {
  const executablePath = BROWSERS.map(name => spawnSync("which", [name], { encoding: "utf8" }).stdout.trim()).find(Boolean);
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, acceptDownloads: true });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const wrong = [];
  page.on("pageerror", error => wrong.push(error.message));
  // The browser reports each answer that is an error; those are the tests' own.
  page.on("console", said => said.type() === "error" && !said.text().startsWith("Failed to load") && wrong.push(said.text()));
  page.on("dialog", dialog => wrong.push(`a dialog: ${dialog.message()}`) && void dialog.dismiss());
  page.on("request", request => !request.url().startsWith(server.url) && !request.url().startsWith("blob:") && wrong.push(`it asks ${request.url()}`));
  await page.goto(server.url + path);
  return { browser, context, page, wrong };
}

/** What axe says against a page, and whether it is too wide. */
export async function look(page) {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document);
    const found = violations.flatMap(({ id, help, nodes }) => nodes.map(node => `${id}: ${help}: ${node.html.slice(0, 200)}`));
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth > clientWidth ? [...found, `it is ${scrollWidth} px wide`] : found;
  });
}

/** Fills in the form of the playground, and asks for the verdict. */
export async function judge(page, texts) {
  for (const [name, text] of Object.entries(texts)) await page.getByRole("textbox", { name, exact: true }).fill(text);
  await page.getByRole("button", { name: "Judge", exact: true }).click();
}
