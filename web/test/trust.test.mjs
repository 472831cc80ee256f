import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openPage, Server } from "./harness.mjs";
import { REPORT } from "./results.mjs";

let server;
before(async () => (server = await Server.start()));
after(() => server.stop());

function on(name, work, of = () => server) {
  test(name, async () => {
    const { browser, page, wrong } = await openPage(of(), { path: "/#/trust" });
    try {
      await work(page);
      assert.deepEqual(wrong, []);
    } finally {
      await browser.close();
    }
  });
}

const files = page => page.getByLabel("Open reports");
const file = (name, text) => ({ name, mimeType: "application/json", buffer: Buffer.from(text) });
const judge = (page, name) => page.getByRole("article", { name: `Judge ${name}` });

on("without reports it says what to run", async page => {
  await page.getByText("There is no report yet").waitFor();
  const commands = await page.getByRole("region", { name: "Commands" }).innerText();
  assert.match(commands, new RegExp(`gavel agree --server ${server.url} [\\s\\S]*gavel redteam --server`));
  await page.getByText("so do not trust it yet").waitFor();
  await page.getByText("No calibration or fit is loaded").waitFor();
});

on("a report that is opened here is explained, in words and in figures", async page => {
  await files(page).setInputFiles(file("mine.json", REPORT));
  const shown = judge(page, "qwen2.5-coder-1.5b");
  await shown.waitFor();
  const text = await shown.innerText();
  assert.match(text, /Leans to the response shown first\.[\s\S]*71\.0 % \(61\.0 to 81\.3\)/);
  assert.match(text, /Prefers longer responses more than people do\./);
  assert.match(text, /Not all items judged\. 590 of 599 items have a verdict; 2 have none, 7 failed\./);
  assert.match(text, /the figures are of another judge/);
  const row = (table, name) => shown.getByRole("region", { name: `Figures: ${table}` }).getByRole("row").filter({ has: page.getByRole("rowheader", { name, exact: true }) });
  const cells = async (table, name) => (await row(table, name).locator("td.number").allInnerTexts()).join(" | ");
  assert.equal(await cells("Pairs", "Accuracy, no ties"), "66.0 % | 62.2 to 69.4 | 300");
  assert.equal(await cells("Biases", "Length bias"), "+7.0 points | +2.3 to +12.6 | 297");
  assert.equal(await cells("Scores", "Mean absolute error"), "0.900 | 0.831 to 0.955 | 240");
  assert.match(await row("Pairs", "the longer response").getAttribute("class"), /baseline/);
  const confusion = shown.getByRole("region", { name: "Table: Scores" });
  assert.deepEqual(await confusion.getByRole("row").nth(1).getByRole("cell").allInnerTexts(), ["20", "6", "2", "0", "0"]);
  await shown.locator("summary").getByText("Accuracy, no ties by subset").click();
  await shown.getByText("made_up_pairs/coding").waitFor();
  const { reliability } = JSON.parse(REPORT).judges[0].reward;
  assert.equal(await shown.locator("svg.reliability circle").count(), reliability.length);
});

on("files that are no reports are refused in words", async page => {
  const texts = {
    "text.json": "hello",
    "other.json": `{"object": "gavel.calibration"}`,
    "cut.json": REPORT.slice(0, 5000),
    "figure.json": REPORT.replace("0.4594", `"<b>"`),
    "scale.json": REPORT.replace(/"scale": \[\s*1,\s*5\s*\]/, `"scale": [1, 2000000000]`),
    "null.json": "null",
  };
  await files(page).setInputFiles(Object.entries(texts).map(([name, text]) => file(name, text)));
  const said = async name => page.getByRole("alert").filter({ hasText: name }).innerText();
  await page.getByRole("alert").first().waitFor();
  assert.match(await said("text.json"), /It is no JSON/);
  assert.match(await said("other.json"), /It is no report/);
  assert.match(await said("cut.json"), /It is no JSON/);
  assert.match(await said("figure.json"), /judges\.0\.absolute\.pearson\.low must be a number/);
  assert.match(await said("scale.json"), /judges\.0\.absolute\.confusion must be a table of 2000000000 rows/);
  assert.match(await said("null.json"), /It is no report/);
  await page.getByText("There is no report yet").waitFor();
});

on("names in a report are text", async page => {
  const hostile = `<img src=x onerror=window.ran=1>`;
  const report = REPORT.replaceAll("qwen2.5-coder-1.5b", hostile).replaceAll("made_up_pairs", hostile).replaceAll("essays.jsonl", hostile.repeat(20));
  await files(page).setInputFiles(file(`${hostile}.json`, report));
  await judge(page, hostile).waitFor();
  assert.equal(await page.evaluate(() => globalThis.ran), undefined);
  assert.equal(await page.locator("main img").count(), 0);
});

on("what the commands print is read, and what the operator stores is shown", async page => {
  const data = join(server.folder, "labels.jsonl");
  const items = Array.from({ length: 12 }, (_, i) => ({
    id: `p${i}`, instruction: `Question ${i}?`, response_a: "Mars, a planet.", response_b: "The Moon.", label: i % 3 ? "A" : "B",
  }));
  writeFileSync(data, items.map(item => `${JSON.stringify(item)}\n`).join(""));
  const agreement = server.run("agree", "--server", server.url, "--data", data, "--mode", "score", "--resamples", "100", "--json");
  const redteam = server.run("redteam", "--server", server.url, "--data", data, "--mode", "score", "--sample", "6", "--attack", "verdict", "--json");
  server.report("broken", `{"object": "agreement"}`);
  server.report("my judge", agreement);
  server.report("my-attacks", redteam);
  // Coming back to the screen looks again.
  await page.getByRole("link", { name: "Server" }).click();
  await page.getByRole("link", { name: "Trust" }).click();
  await judge(page, "scripted").waitFor();
  await page.getByText("The server’s file broken.json is no report: missing field").waitFor();
  const judges = page.getByRole("region", { name: "Table of judges" });
  await judges.getByRole("button", { name: "my-attacks (redteam)" }).click();
  await page.getByRole("article", { name: "Attacks" }).getByText("None of 1 attacks is shown to raise the reward.").waitFor();
  await judges.getByRole("button", { name: "my judge (agreement)" }).click();
  await judge(page, "scripted").getByText("This server runs this model as scripted, and has this prompt.").waitFor();
  await judge(page, "scripted").getByText("12 of 12 items have a verdict.").waitFor();

  // A report that changes is read again, and one that goes is said.
  server.report("my judge", REPORT);
  await page.getByRole("link", { name: "Server" }).click();
  await page.getByRole("link", { name: "Trust" }).click();
  await judge(page, "qwen2.5-coder-1.5b").waitFor();
});
