// Health, and a manager that dies under an open page.

import { BASE, ask, check, picture, pictures, until } from './harness.mjs';

async function health({ page }) {
  await page.goto(`${BASE}/#/health`);
  await until('all is well', async () => /all is well/.test(await page.locator('main').textContent()));
  await until('both interceptors', async () => (await page.getByRole('table', { name: 'Interceptors' }).locator('tbody tr').count()) === 2);
  await pictures(page, 'health');
}

async function dies({ page, state }) {
  await page.goto(`${BASE}/#/workloads`);
  await until('rows', async () => (await page.locator('.list tbody a').count()) > 5);
  await page.waitForTimeout(300);
  await picture(page, 'list');
  state.away = true;
  await ask('kill the manager');
  await page.getByText('Disconnected.').waitFor();
  await until('the banner says since when', async () => /as of \d/.test(await page.locator('#banner').textContent()));
  check((await page.locator('.list tbody a').count()) > 5, 'what was known stays on the screen');
  await picture(page, 'disconnected');
  await ask('start the manager');
  await until('it is connected again', async () => !(await page.locator('#banner').isVisible()));
  const busy = page.locator('.list tbody tr', { has: page.locator('a[href="#/workloads/default/busy"]') }).locator('td.c-inFlight');
  await until('and live', async () => (await busy.textContent()) === '20');
  // What was asked for while it was dead may be reported late.
  await page.waitForTimeout(500);
  state.away = false;
}

async function lost({ page }) {
  await page.goto(`${BASE}/#/assignment`);
  await page.getByLabel('Which decisions').selectOption('collector');
  await ask('kill a collector');
  // It may be gone from all lists within a second of being missed; what was decided about it stays.
  const table = page.getByRole('table', { name: 'Decisions' });
  await until('that it was missed', async () => /collector-1: ready → (silent|lost|gone)/.test(await table.textContent()));
  await page.goto(`${BASE}/#/collectors`);
  await until('two are left', async () => /2 of 2 ready/.test(await page.locator('main').textContent()));
}

async function missing({ page }) {
  await page.goto(`${BASE}/#/workloads`);
  const quiet = (column) => page.locator('.list tbody tr', { has: page.locator('a[href="#/workloads/default/quiet-00"]') }).locator(`td.c-${column}`);
  await until('it is known to be idle', async () => (await quiet('inFlight').textContent()) === '0');
  await ask('kill an interceptor');
  // It may have had requests that nobody has heard of, until its time is over.
  await until('nobody knows', async () => (await quiet('inFlight').textContent()) === '–' && (await quiet('held').textContent()) === '–');
  check(/unknown/.test(await page.locator('.list tbody tr', { has: page.locator('a[href="#/workloads/default/quiet-00"]') }).textContent()), 'it is called unknown, not idle');
  await until('it is known to be idle once more', async () => (await quiet('inFlight').textContent()) === '0');
}

export const connection = [
  ['health', health],
  ['the manager dies and comes back', dies],
  ['a collector dies', lost],
  ['an interceptor is missing', missing],
];
