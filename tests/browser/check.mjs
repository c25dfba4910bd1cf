// Looks at rendered reports as their readers do: Chromium without JavaScript and without a network, at two widths,
// light, dark and on paper; then, with axe-core as the only script, for WCAG 2 AA.
//
//   node tests/browser/check.mjs [--shots DIR] PAGE.html...        (make browser)
//
// Exit code 1 where anything is wrong: a console message, a request, a page wider than its window, a picture that did
// not load, a sound without a duration, an axe violation. docs/reports.md says what it needs.

import { createRequire } from "node:module";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const tools = createRequire(resolve(process.env.BROWSER_TOOLS ?? ".", "package.json"));
const puppeteer = tools("puppeteer-core");
const axe = readFileSync(tools.resolve("axe-core/axe.min.js"), "utf8");

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const WIDTHS = [1280, 390];
const SCHEMES = ["light", "dark"];
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const TILE = 3000; // pixels of a screenshot's height: a taller page is several pictures

const { pages, shots } = readArguments(process.argv.slice(2));
const browser = await puppeteer.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"],
});
let wrong = 0;
try {
  for (const page of pages) wrong += await checkPage(page);
} finally {
  await browser.close();
}
console.log(wrong ? `${wrong} findings` : "nothing found");
process.exitCode = wrong ? 1 : 0;

async function checkPage(path) {
  const found = [];
  const name = `${basename(dirname(resolve(path)))}-${basename(path, ".html")}`;
  for (const scheme of SCHEMES) {
    for (const width of WIDTHS) {
      const where = `${name}, ${scheme}, ${width} px`;
      found.push(...(await look(path, scheme, width, where, name)));
      found.push(...(await measure(path, scheme, width, where)));
    }
  }
  if (shots) await printed(path, name);
  for (const line of summed(found)) console.log(`FOUND ${line}`);
  console.log(`${found.length ? "BAD " : "ok  "} ${name}: ${SCHEMES.length * WIDTHS.length} looks`);
  return found.length;
}

// One line for what is found many times.
function summed(found) {
  const counts = new Map();
  for (const line of found) {
    const [where, what, ...rest] = line.split(": ");
    const key = `${where}: ${what}`;
    const [n, first] = counts.get(key) ?? [0, rest.join(": ")];
    counts.set(key, [n + 1, first]);
  }
  return [...counts].map(([key, [n, first]]) => `${key}: ${first}${n > 1 ? ` (and ${n - 1} more)` : ""}`);
}

// As a reader sees it: no script runs, nothing but the file itself can be reached.
async function look(path, scheme, width, where, name) {
  const { page, heard } = await open(path, scheme, width, { scripts: false });
  if (shots) await photograph(page, width, join(shots, `${name}-${scheme}-${width}`));
  await page.close();
  return heard.map((line) => `${where}: ${line}`);
}

// With scripts, which the page itself does not have: what only a script can ask.
async function measure(path, scheme, width, where) {
  const { page, heard } = await open(path, scheme, width, { scripts: true });
  const found = await page.evaluate(inspectMedia);
  await page.evaluate(axe);
  const result = await page.evaluate((tags) => axe.run(document, { runOnly: { type: "tag", values: tags } }), TAGS);
  await page.close();
  const violations = result.violations.map(({ id, impact, help, nodes }) => {
    return `axe ${id} (${impact}): ${help}; ${nodes.length} times, first ${nodes[0].html.slice(0, 160)}`;
  });
  return [...heard, ...found, ...violations].map((line) => `${where}: ${line}`);
}

// Runs in the page.
async function inspectMedia() {
  for (const each of document.querySelectorAll("details")) each.open = true;
  const found = [];
  const settled = (element, done, event) =>
    done() ? Promise.resolve() : new Promise((go) => [event, "error"].forEach((e) => element.addEventListener(e, go)));
  for (const img of document.images) {
    await settled(img, () => img.complete, "load");
    if (!(img.naturalWidth > 0)) found.push(`a picture did not load: ${img.alt}`);
  }
  for (const audio of document.querySelectorAll("audio")) {
    await settled(audio, () => audio.readyState >= 1 || audio.error, "loadedmetadata");
    if (!(audio.duration > 0)) found.push(`a sound has no duration: ${audio.getAttribute("aria-label")}`);
  }
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    const reaches = (each) => each.getBoundingClientRect().right > root.clientWidth + 1;
    const wide = [...document.body.querySelectorAll("*")].filter(reaches);
    const names = wide.slice(0, 5).map((each) => `${each.tagName}.${each.getAttribute("class") ?? ""}`);
    found.push(`the page is ${root.scrollWidth} px wide in ${root.clientWidth} px: ${names.join(", ")}`);
  }
  if (document.scripts.length) found.push("the page has a script");
  return found;
}

async function open(path, scheme, width, { scripts }) {
  const page = await browser.newPage();
  const heard = [];
  const own = pathToFileURL(resolve(path)).href;
  page.on("console", (message) => heard.push(`console ${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => heard.push(`error: ${error}`));
  page.on("request", (request) => {
    if (!request.url().startsWith("data:") && request.url() !== own) heard.push(`request: ${request.url()}`);
  });
  await page.setJavaScriptEnabled(scripts);
  await page.setBypassCSP(scripts); // for axe alone; the policy is in force where the page is looked at
  await page.setOfflineMode(true);
  await page.setViewport({ width, height: 900, isMobile: width < 500, hasTouch: width < 500 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(own, { waitUntil: "load", timeout: 60_000 });
  return { page, heard };
}

async function photograph(page, width, stem) {
  const client = await page.createCDPSession();
  const { cssContentSize } = await client.send("Page.getLayoutMetrics");
  for (let top = 0, n = 0; top < cssContentSize.height; top += TILE, n += 1) {
    const height = Math.min(TILE, cssContentSize.height - top);
    const clip = { x: 0, y: top, width, height, scale: 1 };
    const { data } = await client.send("Page.captureScreenshot", { clip, captureBeyondViewport: true });
    writeFileSync(`${stem}-${String(n).padStart(2, "0")}.png`, Buffer.from(data, "base64"));
  }
}

async function printed(path, name) {
  const { page } = await open(path, "light", 1280, { scripts: false });
  const margin = { top: "15mm", bottom: "15mm", left: "14mm", right: "14mm" };
  await page.pdf({ path: join(shots, `${name}.pdf`), format: "A4", margin });
  await page.close();
}

function readArguments(given) {
  const at = given.indexOf("--shots");
  const shots = at < 0 ? null : given[at + 1];
  const pages = at < 0 ? given : given.toSpliced(at, 2);
  if (!pages.length) throw new Error("name a report.html");
  if (shots) mkdirSync(shots, { recursive: true });
  return { pages, shots };
}
