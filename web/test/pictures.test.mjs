// Pictures on every screen: added, shown, sent and named; and nothing loaded from elsewhere.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { judge, look, openPage, Server } from "./harness.mjs";
import { absolute, picture, RED, BLUE, write } from "./results.mjs";

let server, folder;
before(async () => {
  server = await Server.start();
  folder = mkdtempSync(join(tmpdir(), "gavel-pictures-"));
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

function on(name, path, work) {
  test(name, async () => {
    const { browser, page, wrong, context } = await openPage(server, { path });
    try {
      await work(page, context);
      assert.deepEqual(await look(page), []);
      assert.deepEqual(wrong, []);
    } finally {
      await browser.close();
    }
  });
}

const png = (name, base64) => ({ name, mimeType: "image/png", buffer: Buffer.from(base64, "base64") });
const verdict = page => page.getByRole("region", { name: "Verdict" });
const summary = page => page.locator("summary", { hasText: "Pictures of the instruction" });
const chooser = page => page.getByLabel("Add pictures to the instruction");
const image = (page, name) => page.getByRole("img", { name });
const widthOf = found => found.evaluate(async image => { await image.decode(); return image.naturalWidth; });

async function choose(page, ...files) {
  if (!(await chooser(page).isVisible())) await summary(page).click();
  await chooser(page).setInputFiles(files);
}

on("pictures are chosen, judged, named in the verdict, and removed", "/", async page => {
  await choose(page, png("red.png", RED), png("blue.png", BLUE));
  const red = image(page, "Picture 1 of the instruction: red.png");
  assert.equal(await widthOf(red), 8);
  await page.getByText("Picture 1 of the instruction: red.png, 8 × 4 pixels").waitFor();
  await page.getByText("Pictures of the instruction: 2").waitFor();
  assert.deepEqual(await look(page), [], "before the verdict");
  await judge(page, { Instruction: "SURE: which colour?", Response: "Red." });
  const seen = verdict(page).getByRole("region", { name: "Pictures that the judge saw" });
  await seen.getByText("The judge saw 2 pictures").waitFor();
  const lines = await seen.getByRole("listitem").allInnerTexts();
  assert.match(lines[0], /^\/messages\/0\/content\/0: 8 × 4 pixels, 64 tokens/);
  assert.match(lines[1], /^\/messages\/0\/content\/1: 4 × 4 pixels, 64 tokens/);
  await page.getByRole("button", { name: "Remove picture 1 of the instruction" }).click();
  await image(page, "Picture 1 of the instruction: blue.png").waitFor();
  assert.equal(await page.getByRole("img").count(), 1);
  await page.getByRole("button", { name: "Remove picture 1 of the instruction" }).click();
  await page.getByRole("button", { name: "Judge", exact: true }).click();
  await verdict(page).getByText("The judge saw no picture: the request has none.").waitFor();
});

on("a response may be a picture: two edits of a picture are compared", "/", async page => {
  await page.getByLabel("two responses").check();
  await choose(page, png("before.png", RED));
  for (const side of ["A", "B"]) {
    await page.locator("summary", { hasText: `Pictures of the response ${side}` }).click();
    await page.getByLabel(`Add pictures to the response ${side}`).setInputFiles(png(`${side}.png`, side === "A" ? BLUE : RED));
    await image(page, `Picture 1 of the response ${side}: ${side}.png`).waitFor();
  }
  await judge(page, { Instruction: "Make it blue.", "Response B": "Here it is." });
  const seen = verdict(page).getByRole("region", { name: "Pictures that the judge saw" });
  await seen.getByText("The judge saw 3 pictures").waitFor();
  const places = await seen.getByRole("listitem").locator("code").allInnerTexts();
  assert.deepEqual(places, ["/messages/0/content/0", "/response_a/0", "/response_b/0"]);
});

on("pictures are dropped and pasted; other files are refused by their content", "/", async page => {
  const transfer = files => page.evaluateHandle(files => {
    const data = new DataTransfer();
    for (const [name, type, base64] of files) {
      const bytes = Uint8Array.from(atob(base64), char => char.charCodeAt(0));
      data.items.add(new File([bytes], name, { type }));
    }
    return data;
  }, files);
  const field = page.getByRole("textbox", { name: "Instruction" });
  await field.dispatchEvent("drop", { dataTransfer: await transfer([["dropped.png", "image/png", RED]]) });
  await image(page, "Picture 1 of the instruction: dropped.png").waitFor();
  const clipboard = await transfer([["image.png", "image/png", BLUE]]);
  await field.evaluate((node, clipboardData) => node.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true })), clipboard);
  await image(page, "Picture 2 of the instruction: image.png").waitFor();
  const svg = Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'><script>window.ran=1</script></svg>");
  await choose(page, { name: "drawing.png", mimeType: "image/png", buffer: svg }, { name: "red.bin", mimeType: "application/octet-stream", buffer: Buffer.from(RED, "base64") });
  await page.getByRole("alert").getByText("drawing.png is no PNG, JPEG, GIF or WebP file, so it was not added.").waitFor();
  await image(page, "Picture 3 of the instruction: red.bin").waitFor();
  assert.equal(await page.getByRole("img").count(), 3);
  assert.equal(await page.evaluate(() => globalThis.ran), undefined);
  // Text is pasted as text.
  await field.evaluate(node => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", "words");
    const pasted = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
    if (!node.dispatchEvent(pasted)) throw new Error("the page took a text");
  });
});

on("the request with its pictures is taken along; a link leaves them out when they are too large", "/", async (page, context) => {
  await choose(page, png("red.png", RED));
  await page.getByRole("textbox", { name: "Instruction" }).fill("Which colour?");
  await page.getByRole("textbox", { name: "Response" }).fill("Red.");
  const shown = async name => {
    await page.getByRole("button", { name, exact: true }).click();
    return page.getByRole("region", { name, exact: true }).innerText();
  };
  const url = `data:image/png;base64,${RED}`;
  const content = [{ type: "image_url", image_url: { url } }, { type: "text", text: "Which colour?" }];
  assert.deepEqual(JSON.parse(await shown("JSON")), { messages: [{ role: "user", content }], response: "Red.", rubric: "helpfulness" });
  const program = await shown("Python");
  execFileSync("python3", ["-c", "import ast, sys; ast.parse(sys.stdin.read())"], { input: program });
  assert.ok(program.includes(url));
  const other = await context.newPage();
  await other.goto(await shown("Link"));
  assert.equal(await widthOf(image(other, "Picture 1 of the instruction: red.png")), 8);
  await other.close();

  // 150 kB of noise after the end of the picture, which readers skip.
  const noise = Buffer.concat([Buffer.from(RED, "base64"), Buffer.alloc(150_000, "noise")]);
  await page.getByRole("button", { name: "Remove picture 1 of the instruction" }).click();
  await choose(page, { name: "large.png", mimeType: "image/png", buffer: noise });
  await image(page, "Picture 1 of the instruction: large.png").waitFor();
  const answer = JSON.parse(execFileSync("bash", { input: await shown("curl"), encoding: "utf8" }));
  assert.equal(answer.pictures[0].pointer, "/messages/0/content/0", "more than an argument of a command may have");
  const link = await shown("Link");
  await page.getByText("The link is without the pictures, which are too large for it.").waitFor();
  const without = await context.newPage();
  await without.goto(link);
  assert.equal(await without.getByRole("textbox", { name: "Instruction" }).inputValue(), "Which colour?");
  assert.equal(await without.getByRole("img").count(), 0);
});

on("a link cannot make the page load or show anything but pictures in it", "/", async (page, context) => {
  for (const url of ["http://127.0.0.1:1/spy.png", "//127.0.0.1:1/spy.png", "data:image/svg+xml;base64,PHN2Zz4=", "javascript:alert(1)", "/livez"]) {
    const text = JSON.stringify({ pictures: [{ name: "spy", url }] });
    const other = await context.newPage();
    const asked = [];
    other.on("request", request => request.url().includes("spy") && asked.push(request.url()));
    await other.goto(`${server.url}/#/playground/${Buffer.from(text).toString("base64url")}`);
    await other.getByRole("alert").getByText("The link holds no request").waitFor();
    assert.equal(await other.getByRole("img").count(), 0, url);
    assert.deepEqual(asked, [], url);
    await other.close();
  }
});

const MESSAGES = [{
  role: "user",
  content: [
    { type: "text", text: "Which colours?" },
    picture(RED),
    { type: "input_image", image_url: `data:application/octet-stream;base64,${BLUE}` },
    { type: "image", source: { type: "base64", media_type: "image/png", data: RED } },
    { type: "image_url", image_url: { url: "https://127.0.0.1:1/spy.png" } },
    { type: "image_url", image_url: { url: "data:image/svg+xml;base64,PHN2Zz4=" } },
    picture("iVBORw0KGgobroke"),
  ],
}];

/** What the screens show of the messages above. */
async function shows(page, name) {
  for (const [at, width] of [8, 4, 8].entries()) assert.equal(await widthOf(image(page, `Picture ${at + 1} of: ${name}`)), width);
  await page.getByText(`Picture 4 of: ${name}: the browser cannot show it`).waitFor();
  assert.equal(await page.locator("main img").count(), 3);
}

on("the opened item of a run shows its pictures, and what the judge saw of them", "/#/runs", async page => {
  const seen = { pointer: "/messages/0/content/1", sha256: "ab".repeat(32), width: 8, height: 4, tokens: 64 };
  const saw = absolute(1, { input: { messages: MESSAGES, response: "Red." } });
  saw.verdict.pictures = [seen];
  const blind = absolute(2, { input: { messages: MESSAGES, response: "Red." } });
  await page.getByLabel("First run").setInputFiles(write(join(folder, "run.jsonl"), [saw, blind, absolute(3)]));
  const item = page.getByRole("region", { name: "Item", exact: true });
  await page.getByRole("option", { name: /item-1/ }).click();
  await item.getByText("The judge saw one picture").waitFor();
  await shows(page, "user, turn 1 of 1");
  await item.getByText("A picture at https://127.0.0.1:1/spy.png, which this page does not load").waitFor();
  await item.getByText("[A picture that this page cannot show.]").waitFor();
  await page.getByRole("option", { name: /item-2/ }).click();
  await item.getByText("The judge saw no picture, although the request has 4: do not rely on this verdict.").waitFor();
  await page.getByRole("option", { name: /item-3/ }).click();
  await item.getByText("The judge saw no picture: the request has none.").waitFor();
});

on("reviewers see the pictures of an item", "/#review", async page => {
  const [{ role, content }] = MESSAGES;
  // What no judge is shown, the queue does not take.
  const messages = [{ role, content: content.filter(part => !/https:|svg/.test(part.image_url?.url ?? "")) }];
  await server.ask("/v1/reviews", { body: { request: { messages, response: "Red.", rubric: "helpfulness" } } });
  await page.getByRole("textbox", { name: "Your name" }).fill("ada");
  await page.keyboard.press("Enter");
  await page.getByRole("article").waitFor();
  await shows(page, "user, turn 1 of 1");
});

test("the policy keeps pictures from elsewhere out, whatever the page does", async () => {
  const { browser, page } = await openPage(server);
  try {
    const loaded = await page.evaluate(async red => {
      const load = src => new Promise(done => {
        const image = new Image();
        image.onload = () => done(true);
        image.onerror = () => done(false);
        image.src = src;
      });
      const svg = `data:image/svg+xml;base64,${btoa("<svg xmlns='http://www.w3.org/2000/svg' onload='window.ran=1' width='1' height='1'><script>window.ran=1</script></svg>")}`;
      await load(svg);
      return { data: await load(`data:image/png;base64,${red}`), blob: await load(URL.createObjectURL(new Blob([]))), other: await load("http://127.0.0.1:1/x.png"), ran: globalThis.ran };
    }, RED);
    assert.deepEqual(loaded, { data: true, blob: false, other: false, ran: undefined });
  } finally {
    await browser.close();
  }
});
