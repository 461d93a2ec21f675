// Runs client.js in a page of headless Chromium, at an origin of its own.
//
// node order.mjs PORT GATEWAY PRODUCT grpc-web|connect

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [port, gateway, product, protocol] = process.argv.slice(2);
const script = await readFile("client.js");
const server = createServer((request, response) => {
  const isScript = request.url === "/client.js";
  response.writeHead(200, { "content-type": isScript ? "text/javascript" : "text/html" });
  response.end(isScript ? script : '<!doctype html><title>client</title><script src="/client.js"></script>');
});
await new Promise((resolve) => server.listen(Number(port), "127.0.0.1", resolve));

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(message.text()));
  await page.goto(`http://127.0.0.1:${port}/`);
  const call = ([gateway, product, protocol]) => window.order(gateway, product, protocol);
  console.log(JSON.stringify(await page.evaluate(call, [gateway, product, protocol])));
} finally {
  await browser.close();
  server.close();
}
