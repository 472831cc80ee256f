import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { judge, openPage, Server } from "./harness.mjs";

let server;
before(async () => (server = await Server.start({ keys: [["reader", "grade", "--expires", "1h"], ["boss", "admin"]] })));
after(() => server.stop());

async function enter(page, key) {
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await dialog.getByLabel("API key").fill(key);
  await dialog.getByRole("button", { name: "Use this key" }).click();
}

test("a key is asked for, kept in the tab, and asked for again when it has expired", async () => {
  const { browser, context, page, wrong } = await openPage(server);
  try {
    await enter(page, "wrong key");
    await page.getByRole("dialog").getByText("without spaces").waitFor();
    await enter(page, "gvl_unknown");
    // The server does not know it.
    await page.getByRole("dialog").getByText(/not a key|unknown|revoked/i).waitFor();
    await enter(page, server.keys.reader);
    await page.getByRole("combobox", { name: "Rubric" }).getByText("honesty").waitFor({ state: "attached" });
    await judge(page, { Instruction: "Why?", Response: "x" });
    await page.getByText("The verdict is here.").waitFor();
    const stored = await page.evaluate(() => [{ ...localStorage }, document.cookie, { ...sessionStorage }]);
    assert.deepEqual(stored, [{}, "", { "gavel.key": server.keys.reader }]);
    await page.getByRole("button", { name: "curl" }).click();
    const curl = await page.getByRole("region", { name: "curl" }).innerText();
    assert.ok(curl.includes("$GAVEL_API_KEY") && !curl.includes(server.keys.reader), curl);
    // Another tab has no key.
    const other = await context.newPage();
    await other.goto(server.url);
    await other.getByRole("dialog").waitFor();
    await other.getByRole("button", { name: "Cancel" }).click();
    await other.getByRole("alert").first().waitFor();
    await other.close();

    // A scope that is missing is named.
    await page.getByRole("link", { name: "Jobs" }).click();
    await page.getByLabel("A file of requests").setInputFiles({ name: "r.jsonl", mimeType: "text/plain", buffer: Buffer.from("{}\n") });
    await page.getByRole("button", { name: "Upload and submit" }).click();
    await page.getByRole("alert").getByText("does not have the scope `batch`").waitFor();

    server.expireKeys();
    await page.getByRole("link", { name: "Playground" }).click();
    await page.getByRole("button", { name: "Judge", exact: true }).click();
    await page.getByRole("dialog").getByText(/expired/).waitFor();
    await enter(page, server.keys.boss);
    await page.getByText("The verdict is here.").waitFor();
    await page.getByRole("link", { name: "Server" }).click();
    await page.getByRole("region", { name: "Table of keys" }).getByText("reader").waitFor();
    assert.deepEqual(wrong, []);
  } finally {
    await browser.close();
  }
});
