// Drives a headless Chromium on the server's own page, told what to do line by line on stdin.
// Arguments: the folder of node_modules, the browser, the page's URL.
//
//   say TEXT      types it and presses Enter           -> said TEXT
//   hear TEXT     waits until a message shows it       -> heard TEXT
//   here N        waits until the page counts N        -> here N
//   count TEXT    how many messages show it            -> count N
//   echo URL      echoes of all sizes in the page      -> echoed SIZE..., closed CODE
//   quit                                               -> (ends)

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, executablePath, url] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/`)("playwright-core");
const timeout = 12_000;

const browser = await chromium.launch({
  executablePath,
  timeout: 60_000,
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
  ],
});
// The certificates of tests are trusted by nobody else.
const page = await browser.newPage({ ignoreHTTPSErrors: true });
const faults = [];
page.on("pageerror", (error) => faults.push(String(error)));
page.setDefaultTimeout(timeout);

const shown = (text) => page.locator("#log .message .text").getByText(text, { exact: true });

// Runs inside the page.
const echoes = async ({ target, sizes }) => {
  const socket = new WebSocket(target);
  socket.binaryType = "arraybuffer";
  const event = (name) => new Promise((resolve) => socket.addEventListener(name, resolve, { once: true }));
  await event("open");
  const lines = [];
  for (const size of sizes) {
    const text = "a".repeat(size);
    let answer = event("message");
    socket.send(text);
    if ((await answer).data !== text) throw new Error(`text of ${size}`);
    const bytes = Uint8Array.from({ length: size }, (_, index) => index % 251);
    answer = event("message");
    socket.send(bytes);
    const echoed = new Uint8Array((await answer).data);
    if (echoed.length !== size || echoed.some((byte, index) => byte !== bytes[index])) {
      throw new Error(`binary of ${size}`);
    }
    lines.push(`echoed ${size}`);
  }
  const closed = event("close");
  socket.close(1000, "done");
  const { code, wasClean } = await closed;
  lines.push(`closed ${code}${wasClean ? "" : " not clean"}`);
  return lines;
};

const commands = {
  async say(text) {
    await page.fill("#say", text);
    await page.press("#say", "Enter");
    console.log(`said ${text}`);
  },
  async send(text) {
    await page.fill("#say", text);
    await page.click("#send");
    console.log(`sent ${text}`);
  },
  async hear(text) {
    await shown(text).first().waitFor();
    console.log(`heard ${text}`);
  },
  async here(count) {
    await page.waitForFunction(
      (wanted) => document.querySelector("#here").textContent.match(/\d+/)?.[0] === wanted,
      count,
    );
    console.log(`here ${count}`);
  },
  async count(text) {
    console.log(`count ${await shown(text).count()}`);
  },
  async echo(target) {
    const sizes = [0, 1, 125, 126, 65535, 65536, 1 << 20];
    for (const line of await page.evaluate(echoes, { target, sizes })) console.log(line);
  },
};

try {
  await page.goto(url);
  console.log("opened");
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, ...rest] = line.split(" ");
    if (command === "quit") break;
    await commands[command](rest.join(" "));
  }
  if (faults.length > 0) console.log(`faults ${faults.join("; ")}`);
} catch (error) {
  const status = await page.locator("#status").textContent({ timeout: 1000 }).catch(() => "?");
  console.log(`failed: ${String(error).split("\n")[0]} (status: ${status}) ${faults.join("; ")}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
// The pipe that stdin is would keep node alive.
process.exit();
