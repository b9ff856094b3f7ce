// A browser with one page, and what every scenario does with it.

import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const require = createRequire(path.join(process.env.BROWSER_TOOLS, '/'));
const { chromium } = require('playwright-core');
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export const BASE = process.env.DASHBOARD;
const SHOTS = process.env.SHOTS;
const TALK = process.env.TALK;
// Machines that test are busy: what is waited for usually comes a hundred times sooner.
export const LIMIT = 60000;

export function check(held, words) {
  if (!held) throw new Error(words);
}

/** Waits until `look` gives something true; fails with what it saw last. */
export async function until(words, look, limit = LIMIT) {
  const end = Date.now() + limit;
  let seen;
  for (;;) {
    try {
      seen = await look();
      if (seen) return seen;
    } catch (error) {
      seen = error.message;
    }
    if (Date.now() > end) throw new Error(`${words}: still not so after ${limit} ms; last seen: ${seen}`);
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}

let asked = 0;

/** Has the test do something to the servers, and waits until it is done. */
export async function ask(what) {
  asked += 1;
  const answer = path.join(TALK, `answer-${asked}`);
  fs.writeFileSync(path.join(TALK, `ask-${asked}.new`), what);
  fs.renameSync(path.join(TALK, `ask-${asked}.new`), path.join(TALK, `ask-${asked}`));
  await until(`the test does ${what}`, () => fs.existsSync(answer), 2 * LIMIT);
}

export async function open() {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  const faults = [];
  const state = { away: false };
  page.on('console', (message) => {
    if (!['error', 'warning'].includes(message.type())) return;
    // While the manager is dead, the browser says of each attempt that it failed. Refusals that a scenario asks for are answers.
    const expected = /Failed to load resource/.test(message.text()) 
      && (state.away || /40[19]|412|422/.test(message.text()) || /no-such/.test(message.location().url));
    if (!expected) faults.push(`console ${message.type()}: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => faults.push(`exception: ${error.stack}`));
  page.on('request', (request) => {
    if (!request.url().startsWith(BASE) && !request.url().startsWith('data:')) faults.push(`it asks elsewhere: ${request.url()}`);
  });
  return { browser, page, faults, state };
}

/** Looks for what bars people: axe's serious and critical findings. */
export async function accessible(page, where) {
  // By the debugger's own way in: the page's policy lets no further script in, and must stay as it is.
  const session = await page.context().newCDPSession(page);
  await session.send('Runtime.evaluate', { expression: axe });
  const run = 'axe.run(document, { resultTypes: ["violations"] }).then((found) => JSON.stringify(found.violations))';
  const { result, exceptionDetails } = await session.send('Runtime.evaluate', { expression: run, awaitPromise: true, returnByValue: true });
  check(!exceptionDetails, `axe failed: ${JSON.stringify(exceptionDetails)}`);
  await session.detach();
  const found = JSON.parse(result.value);
  const bad = found.filter((one) => ['serious', 'critical'].includes(one.impact));
  const words = bad.map((one) => `${one.id}: ${one.help}\n${one.nodes.slice(0, 4).map((node) => `    ${node.html} ${node.failureSummary}`).join('\n')}`);
  check(bad.length === 0, `${where} has faults that bar people:\n${words.join('\n')}`);
  for (const one of found) console.log(`axe, ${where}: ${one.impact} ${one.id} (${one.nodes.length})`);
}

/** Keeps a picture. */
export async function picture(page, name) {
  await page.screenshot({ path: path.join(SHOTS, `${name}.png`), animations: 'disabled' });
}

/** The view as it is in light, in dark, and on a phone; each is looked at by axe. */
export async function pictures(page, name) {
  await accessible(page, `${name}, light`);
  await picture(page, `${name}-light`);
  await page.emulateMedia({ colorScheme: 'dark' });
  await accessible(page, `${name}, dark`);
  await picture(page, `${name}-dark`);
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForTimeout(200);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  check(wide <= 390, `${name} is ${wide} pixels wide on a phone of 390`);
  await accessible(page, `${name}, phone`);
  await picture(page, `${name}-phone`);
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 800 });
}

/** Runs the steps one after another and says how each went; faults that the browser saw fail the last one. */
export async function play(steps) {
  const stage = await open();
  let current = 'start';
  try {
    for (const [name, step] of steps) {
      current = name;
      const began = Date.now();
      await step(stage);
      check(stage.faults.length === 0, `the browser complains:\n${stage.faults.join('\n')}`);
      console.log(`step ok: ${name} (${Date.now() - began} ms)`);
    }
    console.log('all steps ok');
  } catch (error) {
    await picture(stage.page, 'failed').catch(() => {});
    console.log(`step failed: ${current}: ${error.stack}\n${stage.faults.join('\n')}`);
    process.exitCode = 1;
  } finally {
    await stage.browser.close();
  }
}
