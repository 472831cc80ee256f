import assert from "node:assert/strict";
import { test } from "node:test";
import { openPage, Server } from "./harness.mjs";

/** A test with a server and a page of its own. */
function on(name, work, { keys = [], before = async () => undefined } = {}) {
  test(name, async () => {
    const server = await Server.start({ keys });
    await before(server);
    const { browser, context, page, wrong } = await openPage(server, { path: "/#review" });
    try {
      await work(page, server, context);
      assert.deepEqual(wrong, []);
    } finally {
      await browser.close();
      await server.stop();
    }
  });
}

const pair = i => ({ instruction: `Question ${i}?`, response_a: `A on ${i}.`, response_b: `B on ${i}.`, rubric: "helpfulness" });
const judgedAs = i => ({ preference: i % 2 ? "A" : "B", probability_a: i % 2 ? 0.81 : 0.19 });

async function ask(server, body, key) {
  return (await server.ask("/v1/reviews", { body, key })).id;
}

const pairs = count => async server => {
  for (let i = 0; i < count; i++) await ask(server, { request: pair(i), verdict: judgedAs(i) });
};

async function enterName(page, name) {
  await page.getByRole("textbox", { name: "Your name" }).fill(name);
  await page.keyboard.press("Enter");
  await item(page).waitFor();
}

const item = page => page.getByRole("article");
const label = page => page.getByRole("group", { name: "Label" });

/** The number of the question on the screen. */
async function question(page) {
  const text = await item(page).getByRole("region", { name: "Instruction" }).innerText();
  return Number(/\d+/.exec(text)[0]);
}

/** Presses a key, and waits for the item after this one, or for the end of the queue. */
async function press(page, key) {
  const before = (await item(page).count()) ? await item(page).getByRole("region", { name: "Instruction" }).innerText() : "";
  await page.keyboard.press(key);
  await page.waitForFunction(before => {
    const now = document.querySelector("article [aria-label=Instruction]")?.textContent ?? "";
    return now !== before;
  }, before);
}

on("ten pairs are labelled by keys alone, and nothing of the judge is seen before", async (page, server) => {
  await enterName(page, "ada");
  const given = {};
  for (let at = 0; at < 10; at++) {
    const i = await question(page);
    const said = await page.locator("main").innerText();
    assert.doesNotMatch(said, /0\.81|0\.19|The judge said/);
    const key = ["a", "b", "t"][i % 3];
    given[i] = key === "t" ? "tie" : key.toUpperCase();
    await press(page, key);
  }
  await page.getByText("There is nothing to review now").waitFor();
  await page.getByText("10 labelled in this tab").waitFor();
  const { data } = await server.ask("/v1/reviews?state=done&reviewer=ada&limit=100");
  assert.equal(data.length, 10);
  for (const review of data) assert.equal(review.label, given[/\d+/.exec(review.request.instruction)[0]]);
  await page.getByRole("button", { name: "Refresh" }).click();
  const same = Object.entries(given).filter(([i, label]) => label === judgedAs(Number(i)).preference).length;
  await page.getByText(`the same on ${(same * 10).toFixed(1)} % of 10 items`).waitFor();
  const stored = await page.evaluate(() => [{ ...localStorage }, document.cookie, { ...sessionStorage }]);
  assert.deepEqual(stored, [{}, "", { "gavel.reviewer": "ada" }]);
  // What comes later is found without a click.
  await ask(server, { request: pair(10) });
  await item(page).getByText("Question 10?").waitFor();
}, { before: pairs(10) });

on("a label is taken back until the judge is shown, and a skipped item comes back", async (page, server) => {
  await enterName(page, "ada");
  const first = await question(page);
  await page.keyboard.press("n");
  await page.keyboard.type("abs: ü");
  await page.keyboard.press("Escape");
  await press(page, "a");
  await page.getByText("Labelled A.").waitFor();
  await press(page, "u");
  assert.equal(await question(page), first);
  assert.equal(await label(page).getByRole("button", { name: /^A/ }).getAttribute("aria-pressed"), "true");
  assert.equal(await label(page).getByRole("textbox").inputValue(), "abs: ü");
  await press(page, "b");
  const { data } = await server.ask("/v1/reviews?state=all&reviewer=ada");
  const [review] = data.filter(review => review.label !== null);
  assert.deepEqual([review.label, review.labels[0].note], ["B", "abs: ü"]);

  const skipped = await question(page);
  await press(page, "s");
  await press(page, "u");
  assert.equal(await question(page), skipped);
  await press(page, "b");
  await page.keyboard.press("v");
  const outcome = page.getByRole("region", { name: "What others said" });
  await outcome.getByText("You said B").waitFor();
  await outcome.getByText(`The judge said ${judgedAs(skipped).preference} (probability of A`).waitFor();
  assert.equal(await page.getByRole("button", { name: /^Undo/ }).count(), 0);
  // Keys in a text are letters, and keys with a modifier belong to the browser.
  const now = await question(page);
  await label(page).getByRole("textbox").fill("");
  await label(page).getByRole("textbox").press("a");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+a");
  // They can be turned off.
  await page.getByLabel("use keys").uncheck();
  await page.getByRole("heading", { name: "Agreement so far" }).click();
  await page.keyboard.press("a");
  assert.equal(await question(page), now);
}, { before: pairs(3) });

on("a claim that has ended is renewed, or lost to others, and the label with it is said", async (page, server) => {
  await enterName(page, "ada");
  const first = await question(page);
  server.endClaims();
  await press(page, "a");
  const { data } = await server.ask("/v1/reviews?state=done&reviewer=ada");
  assert.deepEqual(data.map(review => [review.request.instruction, review.label]), [[`Question ${first}?`, "A"]]);

  const second = await question(page);
  server.endClaims();
  const open = await server.ask("/v1/reviews?reviewer=bob");
  const { id } = open.data.find(review => review.request.instruction === `Question ${second}?`);
  await server.ask(`/v1/reviews/${id}/claim`, { body: { reviewer: "bob" } });
  await press(page, "b");
  await page.getByRole("alert").getByText("Your label “B” was not stored.").waitFor();
  const taken = await server.ask(`/v1/reviews/${id}?reviewer=ada`);
  assert.deepEqual([taken.label, taken.labelled], [null, 0]);
  // The item that is shown now is another one, and the word is gone with its label.
  await press(page, "a");
  assert.equal(await page.getByRole("alert").count(), 0);
}, { before: pairs(3) });

on("two reviewers never get the same seat", async (page, server, context) => {
  await enterName(page, "ada");
  const other = await context.newPage();
  await other.goto(`${server.url}/#review`);
  await enterName(other, "bob");
  assert.notEqual(await question(page), await question(other));
}, { before: pairs(2) });

on("scores have the keys of their digits, or of their places", async (page, server) => {
  await enterName(page, "ada");
  const keys = {};
  for (let at = 0; at < 2; at++) {
    const text = await item(page).getByRole("region", { name: "Instruction" }).innerText();
    keys[text] = await label(page).locator("button.option").evaluateAll(all => all.map(button => button.textContent.trim()));
    // The fourth of the five, the first of the three.
    await press(page, text === "Five?" ? "4" : "1");
  }
  assert.deepEqual(keys, { "Five?": ["1 1", "2 2", "3 3", "4 4", "5 5"], "Three?": ["-1 1", "0 2", "1 3"] });
  const { data } = await server.ask("/v1/reviews?state=done&reviewer=ada");
  const given = Object.fromEntries(data.map(review => [review.request.instruction, review.label]));
  assert.deepEqual(given, { "Five?": "4", "Three?": "-1" });
}, {
  before: async server => {
    const descriptions = { "-1": "Rude.", 0: "Neither.", 1: "Polite." };
    await ask(server, { request: { instruction: "Five?", response: "x", rubric: "helpfulness" }, verdict: { score: 3 } });
    await ask(server, { request: { instruction: "Three?", response: "x", rubric: { criterion: "Polite?", descriptions } } });
  },
});

const HOSTILE = `<img src=x onerror="window.ran=1"><script>window.ran=1</script></div></article>`;
const HEBREW = "השמיים כחולים\nThe sky is blue.";

on("texts are shown whole, as text, each paragraph in its own direction", async page => {
  await enterName(page, "ada");
  const text = name => item(page).getByRole("region", { name, exact: true });
  assert.equal(await text("Response A").textContent(), HOSTILE);
  assert.equal((await text("Response B").textContent()).length, 200_000);
  assert.equal(await text("user, turn 1 of 1").textContent(), HEBREW);
  assert.equal(await text("user, turn 1 of 1").evaluate(node => getComputedStyle(node).direction), "rtl");
  assert.equal(await text("user, turn 1 of 1").evaluate(node => getComputedStyle(node).unicodeBidi), "plaintext");
  assert.equal(await text("Document a").textContent(), HOSTILE);
  await item(page).getByText(`Rubric: ${HOSTILE}`).waitFor();
  assert.equal(await page.evaluate(() => globalThis.ran), undefined);
  assert.equal(await page.locator("main img, main script").count(), 0);
  const { width, inside } = await page.evaluate(() => ({ width: document.documentElement.scrollWidth, inside: innerWidth }));
  assert.ok(width <= inside, `${width} > ${inside}`);
  // The labels are in reach without scrolling through the text.
  assert.ok(await label(page).getByRole("button", { name: /^A/ }).isVisible());
  const box = await label(page).boundingBox();
  assert.ok(box.y + box.height <= 901, JSON.stringify(box));
  await page.keyboard.press("a");
  await page.getByText("There is nothing to review now").waitFor();
}, {
  before: server => ask(server, {
    request: {
      messages: [{ role: "user", content: HEBREW }],
      context: [{ id: "a", text: HOSTILE }],
      response_a: HOSTILE,
      response_b: "word ".repeat(40_000),
      rubric: { criterion: HOSTILE, descriptions: { 1: "No.", 2: "Yes." } },
    },
  }),
});

async function enterKey(page, key) {
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await dialog.getByLabel("API key").fill(key);
  await dialog.getByRole("button", { name: "Use this key" }).click();
}

on("a key of the scope review is enough; when it ends, the next one goes on", async (page, server) => {
  await enterKey(page, server.keys.grader);
  await page.getByRole("alert").getByText("does not have the scope `review`").first().waitFor();
  await page.getByRole("button", { name: "Forget the key" }).click();
  await enterKey(page, server.keys.ada);
  await item(page).waitFor();
  await press(page, "a");
  const second = await question(page);
  server.expireKeys();
  await page.keyboard.press("b");
  await page.getByRole("dialog").getByText(/expired/).waitFor();
  // Without a key the item stays where it is, and the label is tried again.
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("alert").getByText(/expired/).first().waitFor();
  assert.equal(await question(page), second);
  server.endClaims();
  await page.keyboard.press("b");
  await enterKey(page, server.keys.bob);
  await page.waitForFunction(second => !document.querySelector("article")?.textContent.includes(`Question ${second}?`), second);
  const { data } = await server.ask("/v1/reviews?state=done", { key: server.keys.boss });
  const given = data.flatMap(review => review.labels.map(({ reviewer, label }) => [reviewer, label]));
  assert.deepEqual(given.sort(), [["ada", "A"], ["bob", "B"]]);
  const stored = await page.evaluate(() => [{ ...localStorage }, document.cookie, { ...sessionStorage }]);
  assert.deepEqual(stored, [{}, "", { "gavel.key": server.keys.bob }]);
}, {
  keys: [["grader", "grade"], ["ada", "review", "--expires", "1h"], ["bob", "review"], ["boss", "admin"]],
  before: async server => {
    for (let i = 0; i < 3; i++) await ask(server, { request: pair(i) }, server.keys.grader);
  },
});
