import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openPage, Server } from "./harness.mjs";
import { absolute, failed, relative, write, writeLarge } from "./results.mjs";

const ITEMS = 5000;
let server, folder;
before(async () => {
  server = await Server.start();
  folder = mkdtempSync(join(tmpdir(), "gavel-runs-"));
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

function on(name, work) {
  test(name, async () => {
    const { browser, page, wrong } = await openPage(server, { path: "/#/runs" });
    try {
      await work(page);
      assert.deepEqual(wrong, []);
    } finally {
      await browser.close();
    }
  });
}

const file = name => join(folder, name);
const open = (page, name, path) => page.getByLabel(name).setInputFiles(path);
const found = (page, text) => page.getByText(text, { exact: true }).waitFor();

on("5,000 results scroll, and are filtered", async page => {
  const items = [...Array.from({ length: ITEMS - 20 }, (_, i) => absolute(i))];
  items.push(...Array.from({ length: 10 }, (_, i) => relative(i, i % 2 === 0)), ...Array.from({ length: 10 }, (_, i) => failed(i)));
  await open(page, "First run", write(file("run.jsonl"), items));
  await page.getByText("5,000 results").waitFor();
  await found(page, "5,000 of 5,000 items");
  for (const [name, expected] of [["Rewards", ITEMS - 20], ["Probability that A is better", 10], ["Label mass", ITEMS - 10]]) {
    const bars = await page.getByRole("region", { name, exact: true }).locator(".number").allInnerTexts();
    assert.equal(bars.length, 10);
    assert.equal(bars.reduce((sum, bar) => sum + Number(bar.replace(",", "")), 0), expected, name);
  }
  const list = page.getByRole("listbox");
  const drawn = () => list.getByRole("option").count();
  assert.ok((await drawn()) < 60, "only what is in view is drawn");
  // By the wheel and by the keyboard, to the end.
  await list.hover();
  await page.mouse.wheel(0, 80_000);
  await list.getByText("item-2500").waitFor();
  assert.ok((await drawn()) < 60);
  await list.focus();
  await page.keyboard.press("End");
  await page.getByRole("region", { name: "Item", exact: true }).getByText("it has 9,000 tokens", { exact: true }).waitFor();
  await page.keyboard.press("Home");
  await page.getByRole("region", { name: "Item", exact: true }).getByText("Feedback on 0.", { exact: true }).waitFor();
  await page.keyboard.press("ArrowDown");
  await page.getByRole("region", { name: "Item", exact: true }).getByText("Feedback on 1.", { exact: true }).waitFor();

  const show = page.getByRole("combobox", { name: "Show" });
  for (const [name, expected] of [["errors", "10 of 5,000 items"], ["flips", "5 of 5,000 items"], ["low", "498 of 5,000 items"]]) {
    await show.selectOption(name);
    await found(page, expected);
  }
  await show.selectOption("");
  await page.getByRole("combobox", { name: "Rubric" }).last().selectOption("honesty");
  await found(page, "1,660 of 5,000 items");
  await page.getByRole("combobox", { name: "Rubric" }).last().selectOption("");
  await page.getByRole("button", { name: /^3 / }).click();
  await found(page, "996 of 5,000 items");
  await page.getByRole("searchbox").fill("item-12");
  const expected = items.filter(item => item.id.includes("item-12") && item.verdict?.score === 3).length;
  await found(page, `${expected} of 5,000 items`);
});

on("two runs are compared item by item", async page => {
  const first = Array.from({ length: 100 }, (_, i) => absolute(i, { score: 3 }));
  const second = Array.from({ length: 99 }, (_, i) => absolute(i, { score: i < 10 ? 5 : i < 30 ? 1 : 3 }));
  await open(page, "First run", write(file("before.jsonl"), [...first, relative(1, true)]));
  await open(page, "Second run", write(file("after.jsonl"), [...second, relative(1, false)]));
  await page.getByText("10 up, 20 down, 1 flipped, 69 same, 1 first only").waitFor();
  await page.getByRole("combobox", { name: "Change" }).selectOption("flipped");
  await page.getByRole("option", { name: /pair-1/ }).click();
  await page.getByRole("region", { name: "First run", exact: true }).getByText("is better").waitFor();
  await page.getByRole("region", { name: "Second run", exact: true }).getByText("The two orders disagree").waitFor();
});

on("hostile and huge texts are shown as they are", async page => {
  const instruction = `<script>window.ran=1</script><img src=x onerror="window.ran=1"> \u202e\u05d0 zero\u200bwidth`;
  const response = `${"0123456789".repeat(20_000)}the end`;
  const hostile = absolute(1, { feedback: instruction, input: { instruction, response } });
  await open(page, "First run", write(file("<b>hostile.jsonl"), [{ ...hostile, id: `<i>${instruction}` }]));
  await page.getByRole("listbox").getByRole("option").click();
  const item = page.getByRole("region", { name: "Item", exact: true });
  await item.getByText("Expected score").waitFor();
  const texts = await item.locator("blockquote").evaluateAll(all => all.map(text => text.textContent));
  assert.deepEqual(texts, [instruction, response, instruction]);
  assert.equal(await page.evaluate(() => globalThis.ran), undefined);
  assert.equal(await page.locator("main script, main img").count(), 0);
});

on("files that are cut off or of another format say so", async page => {
  const line = JSON.stringify(absolute(1));
  const cut = (name, content, expected) => ({ name, content, expected });
  for (const { name, content, expected } of [
    cut("cut.jsonl", `${line}\n${line}\n${line.slice(0, 99)}`, "The file is cut off in its last line"),
    cut("middle.jsonl", `${line}\nnothing\n${line}\n{"id": 1}\n`, "2 lines are no results"),
    cut("table.csv.jsonl", "id,score\n1,2\n", "Line 1 is no result: it is no JSON"),
    cut("other.jsonl", `{"name": "x"}\n`, "Line 1 is no result: it has no `id`"),
    cut("array.json", "[1, 2]\n", "Line 1 is no result: it is no object"),
    cut("items.jsonl", `{"id": "a", "instruction": "x"}\n`, "it has neither `verdict`, `error` nor `response`"),
    cut("latin.jsonl", Buffer.from([0x7b, 0xe9, 0x7d, 0x0a]), "it is not UTF-8"),
    cut("empty.jsonl", "", "The file is empty"),
    cut("blank.jsonl", "\n\n", "The file has no line with a result"),
    cut("table.parquet.jsonl", "PAR1xxxx", "This is a Parquet file"),
    cut("packed.jsonl", Buffer.from([0x1f, 0x8b, 8, 0]), "This file is compressed"),
    cut("long.jsonl", "x".repeat(20 * 1024 * 1024), "Line 1 is longer than 16 MiB"),
  ]) {
    writeFileSync(file(name), content);
    await open(page, "First run", file(name));
    await page.getByText(expected, { exact: false }).waitFor();
  }
});

on("a batch's output is a run", async page => {
  const line = (id, status_code, body) => ({ id: "batch_req_1", custom_id: id, response: { status_code, request_id: "r", body }, error: null });
  const expired = { id: "batch_req_2", custom_id: "late", response: null, error: { code: "batch_expired", message: "the time was over" } };
  const lines = [line("good", 200, absolute(1).verdict), line("bad", 422, failed(1).error), expired];
  await open(page, "First run", write(file("batch.jsonl"), lines));
  await page.getByRole("option", { name: /good/ }).click();
  await page.getByRole("region", { name: "Item", exact: true }).getByText("Feedback on 1.", { exact: true }).waitFor();
  await page.getByRole("combobox", { name: "Show" }).selectOption("errors");
  await found(page, "2 of 3 items");
  await page.getByRole("option", { name: /late/ }).click();
  await page.getByRole("region", { name: "Item", exact: true }).getByText("the time was over", { exact: true }).waitFor();
});

on("200 MB do not freeze the page", async page => {
  const count = writeLarge(file("large.jsonl"), 200_000_000);
  await open(page, "First run", file("large.jsonl"));
  await page.getByRole("progressbar", { name: /Reading/ }).waitFor();
  // It answers while the file is read.
  await page.getByRole("link", { name: "Playground" }).click();
  await page.getByRole("textbox", { name: "Instruction" }).fill("meanwhile");
  await page.getByRole("link", { name: "Runs" }).click();
  await page.getByText(`${count.toLocaleString("en-GB")} results, 2`).waitFor();
  await page.getByRole("listbox").focus();
  await page.keyboard.press("End");
  await page.getByRole("region", { name: "Item", exact: true }).getByText(`Feedback on ${count - 1}.`, { exact: true }).waitFor();
});
