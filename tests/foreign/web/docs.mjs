// A person at /docs: signs in, finds a method, sends it, reads the answer. Prints what was seen as JSON.
//
// node docs.mjs GATEWAY EMAIL PASSWORD PRODUCT PICTURE

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [gateway, email, password, product, picture] = process.argv.slice(2);
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  // The page's own policy would keep axe's script out.
  const context = await browser.newContext({ bypassCSP: true, viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  const [problems, elsewhere] = [[], []];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => request.url().startsWith(`${gateway}/`) || elsewhere.push(request.url()));

  await page.goto(`${gateway}/docs`);
  await page.getByLabel("Search methods").fill("GetStock");
  const found = await page.locator("#methods a:visible").allInnerTexts();

  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByLabel("E-mail address").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.locator("#sign-in-form button[type=submit]").click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
  const who = await page.locator("#who").innerText();

  await page.locator("#methods a:visible").first().click();
  await page.locator("[id='path-product']").fill(product.split("/")[1]);
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".answer pre:visible").first().waitFor();
  const status = await page.locator("p.status").innerText();
  const answer = await page.locator(".answer").innerText();
  const curl = await page.locator("pre.curl").innerText();
  await page.screenshot({ path: picture });

  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  const stored = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie.length]);
  const inaccessible = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  console.log(JSON.stringify({ found, who, status, answer, curl, problems, elsewhere, inaccessible, stored }));
} finally {
  await browser.close();
}
