import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { judge, openPage, Server } from "./harness.mjs";

let server;
before(async () => (server = await Server.start()));
after(() => server.stop());

function on(name, path, work) {
  test(name, async () => {
    const { browser, page, wrong } = await openPage(server, { path });
    try {
      await work(page);
      assert.deepEqual(wrong, []);
    } finally {
      await browser.close();
    }
  });
}

function requests(name, lines, instruction) {
  const line = i => ({ custom_id: `line-${i}`, method: "POST", url: "/v1/grade/absolute", body: { instruction: `${instruction} ${i}`, response: "x", rubric: "helpfulness" } });
  const path = join(server.folder, name);
  writeFileSync(path, Array.from({ length: lines }, (_, i) => `${JSON.stringify(line(i))}\n`).join(""));
  return path;
}

async function submit(page, path) {
  await page.getByLabel("A file of requests").setInputFiles(path);
  await page.getByRole("button", { name: "Upload and submit" }).click();
  const said = await page.getByText(/^batch_\S+ is submitted/).innerText();
  return page.getByRole("article").filter({ hasText: said.split(" ")[0] });
}

on("a batch is submitted, followed, downloaded and opened", "/#/jobs", async page => {
  const batch = await submit(page, requests("r.jsonl", 12, "Why?"));
  await batch.getByText("completed", { exact: true }).waitFor();
  await batch.getByText("12 of 12 lines").waitFor();
  const waiting = page.waitForEvent("download");
  await batch.getByRole("button", { name: "Download results" }).click();
  const lines = readFileSync(await (await waiting).path(), "utf8").trim().split("\n").map(line => JSON.parse(line));
  assert.deepEqual(lines.map(line => line.custom_id), Array.from({ length: 12 }, (_, i) => `line-${i}`));
  await batch.getByRole("button", { name: "Open in Runs" }).click();
  await page.getByText("12 of 12 items").waitFor();
});

on("a submission whose answer is lost is made once", "/#/jobs", async page => {
  const count = async () => [(await server.ask("/v1/batches?limit=100")).data.length, (await server.ask("/v1/files?limit=100")).data.filter(file => file.purpose === "batch").length];
  const [batches, files] = await count();
  await page.evaluate(() => {
    const [real, lost] = [fetch, new Set(["/v1/files", "/v1/batches"])];
    globalThis.fetch = async (path, init) => {
      const response = await real(path, init);
      if (init?.method === "POST" && lost.delete(path)) throw new TypeError("the answer is lost");
      return response;
    };
  });
  await page.getByLabel("A file of requests").setInputFiles(requests("once.jsonl", 2, "Once?"));
  for (let attempt = 0; attempt < 2; attempt++) {
    await page.getByRole("button", { name: "Upload and submit" }).click();
    await page.getByText("The server cannot be reached").waitFor();
  }
  await page.getByRole("button", { name: "Upload and submit" }).click();
  await page.getByText(/^batch_\S+ is submitted/).waitFor();
  assert.deepEqual(await count(), [batches + 1, files + 1]);
  // The same file once more is meant.
  await page.getByRole("button", { name: "Upload and submit" }).click();
  await page.getByText(`2 of 2 lines`).nth(1).waitFor();
  assert.deepEqual(await count(), [batches + 2, files + 2]);
});

on("a batch is cancelled", "/#/jobs", async page => {
  const batch = await submit(page, requests("slow.jsonl", 400, "SLOW"));
  await batch.getByRole("button", { name: "Cancel" }).click();
  await batch.getByText("cancelled", { exact: true }).waitFor();
});

on("a file with wrong lines is refused, line by line", "/#/jobs", async page => {
  const path = join(server.folder, "wrong.jsonl");
  writeFileSync(path, `{"custom_id": "a", "method": "POST", "url": "/v1/nothing", "body": {}}\nnothing\n`);
  const batch = await submit(page, path);
  await batch.getByText("failed", { exact: true }).waitFor();
  assert.match(await batch.innerText(), /Line 1: [\s\S]*Line 2: /);
});

on("the server shows its models, its load and its rubrics", "/#/server", async page => {
  await page.getByRole("region", { name: "Table of models" }).getByText("8,192 tokens").waitFor();
  await page.getByText("text and pictures; probabilities are exact").waitFor();
  await page.getByText(/^\d+ names that OpenAI's clients may use$/).click();
  await page.getByText("scripted, gavel-absolute").waitFor();
  await page.getByText("Requests a second").waitFor();
  await page.getByText("Keys are off").waitFor();
  await page.getByText("None since the start of this process.").waitFor();
  const refused = await fetch(`${server.url}/v1/rank`, { method: "POST", body: "{", headers: { "Content-Type": "application/json" } });
  const errors = page.getByRole("region", { name: "Table of recent errors" });
  await errors.getByText(refused.headers.get("x-request-id"), { exact: true }).waitFor();
  await errors.getByText("malformed_json").waitFor();
  await page.getByRole("link", { name: "Playground" }).click();
  await judge(page, { Instruction: "Why?", Response: "x" });
  await page.getByText("The verdict is here.").waitFor();
  await page.getByRole("link", { name: "Server" }).click();
  await page.getByText(/[1-9]\d* requests and \d+ errors since the start/).waitFor();
});

on("the memory of a model is shown as far as it is known", "/", async page => {
  const memories = [
    [{ weights_bytes: 1_116_000_000, kv_cache_bytes: 458_752_000, counted_bytes: 1_600_000_000 }, "1.12 GB of weights, 458.8 MB of KV cache"],
    [{ weights_bytes: null, kv_cache_bytes: null, counted_bytes: 1_600_000_000 }, "about 1.60 GB, by its files and settings"],
  ];
  for (const [memory, expected] of memories) {
    await page.route("**/v1/info", async route => {
      const answer = await route.fetch();
      const info = await answer.json();
      info.models[0].memory = memory;
      await route.fulfill({ response: answer, json: info });
    });
    await page.goto(`${server.url}/#/playground`);
    await page.goto(`${server.url}/#/server`);
    await page.getByRole("region", { name: "Table of models" }).getByText(expected, { exact: true }).waitFor();
    await page.unroute("**/v1/info");
  }
});

on("what a model runs on and how far it agrees with people are said in words", "/", async page => {
  await page.route("**/v1/info", async route => {
    const answer = await route.fetch();
    const info = await answer.json();
    const model = { engine: "llama-cpp", device: "cpu", threads: 2, pictures: false, agreement: "60 % of 106 human preferences" };
    Object.assign(info.models[0], model);
    await route.fulfill({ response: answer, json: info });
  });
  await page.goto(`${server.url}/#/server`);
  const models = page.getByRole("region", { name: "Table of models" });
  await models.getByText("llama-cpp, on the CPU, 2 threads", { exact: true }).waitFor();
  await models.getByText("text; probabilities are exact", { exact: true }).waitFor();
  await page.goto(`${server.url}/#/trust`);
  await page.getByText("60 % of 106 human preferences.").waitFor();
  await page.unroute("**/v1/info");
});

on("a rubric is made, mended and deleted", "/#/server", async page => {
  await page.getByRole("button", { name: "New rubric" }).click();
  const editor = page.getByRole("region", { name: "Rubrics" });
  const field = name => editor.getByRole("textbox", { name, exact: true });
  await editor.getByText("Score 5 has no description.").waitFor();
  await editor.getByRole("textbox", { name: "Criterion" }).fill("Is it <b>polite</b>?");
  for (const score of [5, 4, 3]) await editor.getByRole("button", { name: `Remove score ${score}` }).click();
  await field("Score 1").fill("It is rude.");
  await field("Name").fill("politeness");
  await editor.getByRole("button", { name: "Save on the server" }).click();
  await editor.getByRole("alert").getByText("level 2 has no description").waitFor();
  await field("Score 2").fill("It is polite.");
  await editor.getByRole("button", { name: "Save on the server" }).click();
  await editor.getByText("Saved as politeness.").waitFor();
  const table = page.getByRole("region", { name: "Table of rubrics" });
  await table.getByText("Is it <b>polite</b>?").waitFor();
  await editor.getByRole("button", { name: "Close" }).click();
  await table.getByRole("button", { name: "politeness" }).click();
  await editor.getByRole("button", { name: "Delete politeness" }).click();
  await table.getByRole("button", { name: "politeness" }).waitFor({ state: "detached" });
});
