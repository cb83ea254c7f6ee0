/* SPDX-License-Identifier: MIT
 *
 * A headless Chromium for specs of web pages: node page.mjs PLAYWRIGHT [WIDTH HEIGHT light|dark]. Prints its port; then each POST
 * is the body of an async function of `page` (Playwright's) and `seen`, and is answered with what that returns, as JSON: 200, or
 * 500 and the error.
 */
import { createServer } from "node:http";
import { createRequire } from "node:module";

const [playwright, width = "1280", height = "900", colorScheme = "light"] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);
const AsyncFunction = (async () => {}).constructor;

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const context = await browser.newContext({
  viewport: { width: Number(width), height: Number(height) },
  colorScheme,
  timezoneId: "UTC",
  reducedMotion: "reduce",
});
const page = await context.newPage();
page.setDefaultTimeout(10000);

/** All that the page did which a spec may want to forbid. */
const seen = { requests: [], console: [], errors: [], navigations: 0, dialogs: 0 };
page.on("request", (request) => seen.requests.push(request.url()));
page.on("console", (message) => seen.console.push(`${message.type()}: ${message.text()}`));
page.on("pageerror", (error) => seen.errors.push(String(error.stack)));
page.on("framenavigated", () => seen.navigations++);
page.on("dialog", (dialog) => {
  seen.dialogs++;
  dialog.dismiss();
});
await page.addInitScript(() =>
  document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`),
  ),
);

const server = createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) {
    body += piece;
  }
  try {
    const value = await new AsyncFunction("page", "seen", body)(page, seen);
    response.end(JSON.stringify({ value: value ?? null }));
  } catch (error) {
    response.statusCode = 500;
    response.end(JSON.stringify({ error: String(error.stack) }));
  }
});
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
