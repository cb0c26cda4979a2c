// The page of `drllm-tui export --format html` in a real browser without a network: keys are pressed, and what the page
// says is held against the trace that it was made from.
//
//   cargo build --release && cd tests/browser && npm install && npm test
//
// DRLLM_TUI names another program than target/release/drllm-tui; SHOTS=1 keeps pictures in tests/browser/shots.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const program = process.env.DRLLM_TUI ?? join(root, "target/release/drllm-tui");
const folder = mkdtempSync(join(tmpdir(), "replay-"));
const shots = join(root, "tests/browser/shots");
let browser;

before(async () => {
  const executablePath = await chromium.executablePath();
  browser = await puppeteer.launch({ args: [...chromium.args, "--no-sandbox"], executablePath, headless: "shell" });
});
after(async () => {
  await browser.close();
  rmSync(folder, { recursive: true });
});

const recording = (name) => readFileSync(join(root, `assets/traces/${name}.trace.jsonl`), "utf8").trim().split("\n").map(JSON.parse);

// The page of a trace, opened. Without motion it stands at the end of the answer, held.
async function open(records, { motion = "reduce", width = 1280, height = 800, scheme = "dark", shot } = {}) {
  const trace = join(folder, "run.trace.jsonl"), out = join(folder, "run.html");
  writeFileSync(trace, records.map((record) => JSON.stringify(record) + "\n").join(""));
  execFileSync(program, ["export", trace, "--out", out, "--force"]);
  const page = await browser.newPage();
  await page.setViewport({ width, height });
  await page.setOfflineMode(true);
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: motion },
  ]);
  const errors = [], requests = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  // Reading the canvas is the test's own doing.
  page.on("console", (message) => message.text().includes("willReadFrequently") || errors.push(message.text()));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(`file://${out}`);
  const frame = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await frame();
  return {
    page, records, frame,
    press: async (...keys) => {
      for (const key of keys) await page.keyboard.press(key);
      await frame();
    },
    // Where the cursor is and what is shown.
    state: () => page.$eval("#view", ({ dataset }) => ({ ...dataset })),
    text: (selector) => page.$eval(selector, (element) => element.innerText),
    answer: () => page.$$eval("#answer span", (spans) => spans.filter((span) => !span.hidden).map((span) => span.textContent).join("")),
    // Kinds of pixels on the canvas: nothing drawn is one.
    colours: () => page.$eval("#tape", (canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size;
    }),
    close: async () => {
      if (process.env.SHOTS && shot) {
        mkdirSync(shots, { recursive: true });
        await page.screenshot({ path: join(shots, `${shot}.png`) });
      }
      assert.deepEqual(errors, [], "the page has no errors");
      assert.deepEqual(requests.filter((url) => !url.startsWith("file://") || !url.endsWith("/run.html")), [], "nothing is fetched");
      await page.close();
    },
  };
}

const depths = (records) => records.filter(({ type }) => type === "token").map(({ depth }) => depth);

test("the tape: keys move the cursor and the detail says what the trace says", async () => {
  const records = recording("fox-depth"), steps = records.filter(({ type }) => type === "token");
  const prompt = records[0].prompt.length, layers = records[0].model.layers;
  const view = await open(records, { shot: "tape" });
  assert.equal(await view.answer(), steps.map(({ text }) => text).join(""));
  await view.press("Home");
  assert.deepEqual(await view.state(), { token: String(prompt - 1), layer: "0", shown: String(steps.length), view: "tape" });
  await view.press("ArrowDown", "j", "ArrowRight", "l", "l");
  assert.deepEqual(await view.state(), { token: String(prompt + 1), layer: "3", shown: String(steps.length), view: "tape" });
  const { decisions, depth, program, next, id } = steps[1], decision = decisions[3];
  const detail = await view.text("#detail");
  const done = { skip: "skipped", execute: "executed", repeat: "repeated" }[decision.action];
  for (const said of [
    `Token 2 “${steps[1].text}”`, `depth ${depth} of ${layers}, ${layers - depth} saved`, `id ${id}`, `position ${prompt + 1}`,
    `Layer 3: ${done} by the ${decision.by}`, program, ...decision.probs.map((p) => p.toFixed(3)),
    ...next.flatMap(({ text, probability }) => [`“${text}”`, probability.toFixed(2)]),
  ]) assert.ok(detail.includes(said), `${said} is not in the detail: ${detail}`);
  // What came next is marked, where it was likely.
  const taken = await view.page.$$eval("#detail .taken .word", (words) => words.map((word) => word.textContent));
  assert.deepEqual(taken, [decision.action, `“${steps[2].text}”`]);
  await view.press("g", "End");
  assert.equal((await view.state()).layer, String(layers - 1));
  assert.equal((await view.state()).token, String(prompt + steps.length - 1));
  await view.press("G", "PageUp", "k", "h");
  assert.equal((await view.state()).layer, "0");
  // The least confident decision first.
  await view.press("u");
  const margins = steps.flatMap(({ decisions }) => decisions.map(({ probs }) => {
    const [a, b] = [...probs].sort((a, b) => b - a);
    return a - b;
  }));
  const margin = Number((await view.text("#detail")).match(/margin (\d\.\d+)/)[1]);
  assert.ok(Math.abs(margin - Math.min(...margins)) < 2e-3, `${margin} is not the least`);
  await view.close();
});

test("playing: tokens and layers one by one, on and back, and by itself", async () => {
  const view = await open(recording("fox-depth"));
  const shown = async () => Number((await view.state()).shown), all = await shown();
  await view.press(",", ",");
  assert.equal(await shown(), all - 2);
  assert.equal((await view.answer()).length, depthsText(view.records, all - 2));
  await view.press("{", "{");
  assert.match(await view.text("#status"), new RegExp(`held ${all - 2} of ${all}, layer 28 of 30`));
  await view.press("}", "}", "}");
  assert.match(await view.text("#status"), new RegExp(`held ${all - 1} of ${all}, layer 1 of 30`));
  await view.press(".", ".");
  assert.equal(await shown(), all);
  // From the end it begins again; 64 times as fast it is soon there.
  await view.press("Space", ">", ">", ">", ">", ">", ">", ">", ">", ">", ">");
  await view.page.waitForFunction((all) => document.getElementById("status").textContent.startsWith(`held ${all} of`), {}, all);
  await view.press("<");
  assert.match(await view.text("#status"), /×32/);
  await view.page.$eval("#at", (slider) => { slider.value = 7; slider.dispatchEvent(new Event("input")); });
  await view.frame();
  assert.equal(await shown(), 7);
  await view.press("J", "ArrowRight");
  assert.equal(await shown(), 8);
  await view.close();
});
const depthsText = (records, count) => records.slice(1, 1 + count).reduce((length, { text }) => length + text.length, 0);

test("a page that moves begins to play", async () => {
  const view = await open(recording("fox-depth"), { motion: "no-preference" });
  await view.page.waitForFunction(() => Number(document.getElementById("view").dataset.shown) > 2);
  await view.press("Space");
  const { shown } = await view.state();
  assert.match(await view.text("#status"), /^held/);
  assert.ok(Number(shown) < depths(view.records).length);
  // A button with the focus keeps the space bar to itself: once, not twice.
  await view.page.focus("#play");
  await view.press("Space");
  assert.match(await view.text("#status"), /^playing/);
  await view.close();
});

test("the map, the modes, the sizes, the prompt unfolded", async () => {
  const view = await open(recording("sky-24"), { scheme: "light", shot: "map" });
  const tape = await view.colours();
  await view.press("Z", "P");
  assert.equal((await view.state()).view, "map");
  assert.ok(tape > 5 && await view.colours() > 5, "something is drawn");
  const from = Number((await view.state()).token);
  await view.press("ArrowLeft", "ArrowUp", "ArrowUp");
  const { token, layer } = await view.state();
  assert.deepEqual([Number(token), layer], [from - 1, "2"]);
  await view.press("Home");
  assert.equal((await view.state()).token, "0");
  assert.match(await view.text("#detail"), /Prompt token 1/);
  for (const mode of ["confidence", "decided by", "decisions"]) {
    await view.press("m");
    assert.ok((await view.text("#status")).endsWith(mode));
    assert.ok((await view.text("#legend")).length > 40);
  }
  await view.press("z", "z", "z", "End");
  await view.close();
});

test("the pointer selects cells and words", async () => {
  const view = await open(recording("fox-depth"));
  await view.press("Home");
  const box = await (await view.page.$("#tape")).boundingBox();
  await view.page.mouse.click(box.x + 300, box.y + 24 + 20 * 3 + 10);
  await view.frame();
  const { token, layer } = await view.state();
  assert.equal(Number(token), view.records[0].prompt.length + 2);
  assert.ok(Number(layer) > 5);
  await view.page.click("#answer span:nth-child(9)");
  await view.frame();
  assert.equal(Number((await view.state()).token), view.records[0].prompt.length + 8);
  await view.close();
});

test("the help opens, closes and keeps the keys to itself", async () => {
  const view = await open(recording("fox-depth"), { shot: "help" });
  const { token } = await view.state();
  await view.press("?", "ArrowUp");
  assert.equal(await view.page.$eval("#help", (help) => help.open), true);
  assert.equal((await view.state()).token, token);
  await view.press("Escape", "ArrowUp");
  assert.equal(await view.page.$eval("#help", (help) => help.open), false);
  assert.notEqual((await view.state()).token, token);
  await view.press("?");
  await view.close();
});

test("a looped model: iterations, pins", async () => {
  const view = await open(recording("loopmoe-iterations"), { shot: "loop" });
  await view.press("End", "g", "ArrowLeft", "ArrowLeft");
  const detail = await view.text("#detail");
  assert.match(detail, /Layer 3, iteration 4 of 4 \(execution 9\): skipped by a pin/);
  assert.match(detail, /no router was asked here/);
  await view.close();
});

test("candidates of a predictor stand in a table", async () => {
  const records = recording("fox-depth");
  records[0].candidates = [{ program: "0-29", score: -1.25 }, { program: "0-9 12-29", score: -2.5 }];
  const view = await open(records);
  assert.deepEqual(await view.page.$$eval("#candidates td", (cells) => cells.map((cell) => cell.textContent)),
    ["-1.25", "30", "0-29", "ran", "-2.50", "28", "0-9 12-29", ""]);
  await view.close();
});

test("hostile texts are shown and not obeyed", async () => {
  const hostile = "</script><script>window.obeyed=1</script></pre><img src=x onerror=obeyed=1><style>*{display:none}</style>\u202e\u0000";
  const records = recording("fox-depth");
  records[0].model.name = records[0].prompt[3].text = records[1].text = hostile;
  records[0].settings.stop = [hostile];
  records[1].next[0].text = records[0].next[0].text = hostile;
  const view = await open(records, { shot: "hostile" });
  await view.press("Home", "ArrowDown", "Z", "P", "Home", "l", "l", "l");
  assert.match(await view.text("#detail"), /<script>window.obeyed=1<\/script>/);
  await view.press("Z", "End");
  const seen = await view.page.evaluate(() => ({
    obeyed: window.obeyed ?? null, images: document.images.length, scripts: document.scripts.length, styles: document.styleSheets.length,
    display: getComputedStyle(document.body).display,
  }));
  assert.deepEqual(seen, { obeyed: null, images: 0, scripts: 2, styles: 1, display: "block" });
  assert.ok((await view.answer()).includes("<img src=x onerror=obeyed=1>"));
  await view.close();
});

test("a phone: everything is in its width, and the answer can be reached", async () => {
  const view = await open(recording("fox-depth"), { width: 360, height: 740, scheme: "light", shot: "phone" });
  const wide = await view.page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `the page is ${wide} wide`);
  await view.close();
});

test("2,000 tokens of 64 layers can be walked through", async (context) => {
  const [header, ...rest] = recording("fox-depth"), steps = rest.filter(({ type }) => type === "token");
  const stretched = (decisions) => Array.from({ length: 64 }, (_, layer) => decisions[layer % decisions.length]);
  const program = "0-63";
  header.model.layers = 64;
  Object.assign(header, { program, decisions: stretched(header.decisions) });
  const many = Array.from({ length: 2000 }, (_, n) => {
    const step = steps[n % steps.length];
    return { ...step, program, depth: 64, decisions: stretched(step.decisions), position: header.prompt.length + n };
  });
  const view = await open([header, ...many], { shot: "long" });
  assert.equal((await view.state()).shown, "2000");
  await view.press("End");
  const start = performance.now();
  for (let n = 0; n < 60; n++) await view.press("ArrowUp");
  context.diagnostic(`${((performance.now() - start) / 60).toFixed(1)} ms a key, two frames of it waiting`);
  assert.equal(Number((await view.state()).token), header.prompt.length + 1999 - 60);
  await view.press("Z", "Home", "PageDown", "Z", "u", "End");
  assert.equal(Number((await view.state()).token), header.prompt.length + 1999);
  await view.close();
});
