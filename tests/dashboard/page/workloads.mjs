// The list of workloads, and the page of one.

import { BASE, ask, check, pictures, until } from './harness.mjs';

const names = (page) => page.locator('.list tbody tr:not(.gap) th a').allTextContents();
const cell = (page, workload, column) => page.locator('.list tbody tr', { has: page.locator(`a[href="#/workloads/${workload}"]`) }).locator(`td.c-${column}`);
const head = (page, title) => page.locator('.list thead button', { hasText: title });

async function live({ page }) {
  await page.goto(`${BASE}/`);
  await until('eight requests are in flight', async () => (await cell(page, 'default/busy', 'inFlight').textContent()) === '8');
  await until('its mean settles', async () => Math.abs(parseFloat(await cell(page, 'default/busy', 'conc').textContent()) - 8) < 1.5);
  const before = await page.locator('.figures dd').nth(4).textContent();
  await until('the sum of rates changes', async () => (await page.locator('.figures dd').nth(4).textContent()) !== before || Number(before) > 0);
  check((await cell(page, 'default/quiet-00', 'inFlight').textContent()) === '0', 'an idle workload is told as 0');
  await until('it says that it is live', async () => /live/.test(await page.locator('#link').textContent()));
  await ask('more load');
  await until('the load is seen to grow without a reload', async () => (await cell(page, 'default/busy', 'inFlight').textContent()) === '20');
}

async function held({ page }) {
  await ask('a request for what is not there');
  await until('a held request is shown', async () => (await cell(page, 'default/cold', 'held').textContent()) === '1');
  const kinds = page.getByRole('group', { name: 'Which workloads' });
  await kinds.getByRole('button', { name: 'Held' }).click();
  await until('only what holds requests is listed', async () => (await names(page)).join() === 'default/cold');
  await kinds.getByRole('button', { name: 'All' }).click();
}

async function search({ page }) {
  await page.goto(`${BASE}/#/workloads`);
  const field = page.getByRole('searchbox');
  await field.waitFor();
  await page.keyboard.press('/');
  check(await field.evaluate((element) => element === document.activeElement), 'a slash goes to the search');
  await field.fill('quiet-1');
  await until('only what is looked for is listed', async () => (await names(page)).length === 10 && (await names(page)).every((name) => name.includes('quiet-1')));
  check((await page.locator('.list table').getAttribute('aria-rowcount')) === '11', 'the true count of rows is told to screen readers');
  await field.fill('nothing is called so');
  await until('an empty result says so', async () => /No workload is like that/.test(await page.locator('main').textContent()));
  await field.fill('');
}

async function sort({ page }) {
  await head(page, 'Workload').click();
  await until('by name', async () => (await names(page))[0] === 'default/brisk');
  await head(page, 'Workload').click();
  await until('by name, the other way', async () => (await names(page))[0] === 'default/quiet-29');
  check((await page.locator('.list thead th.c-name').getAttribute('aria-sort')) === 'descending', 'the way is told to screen readers');
  await head(page, 'Rate').click();
  await until('by rate', async () => /brisk/.test((await names(page))[0]));
  await head(page, 'In flight').click();
  await until('by requests in flight', async () => (await names(page))[0] === 'default/busy');
}

async function keyboard({ page }) {
  await page.locator('.list tbody a').first().focus();
  await page.keyboard.press('ArrowDown');
  const second = await page.evaluate(() => document.activeElement.getAttribute('href'));
  check(second !== '#/workloads/default/busy' && second.startsWith('#/workloads/'), `the arrow goes to the next row: ${second}`);
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('Enter');
  await until('Enter opens the page', async () => (await page.locator('h1').textContent()) === 'default/busy');
  check(await page.locator('h1').evaluate((element) => element === document.activeElement), 'the focus is on its title');
  await page.goBack();
  await until('back', async () => (await page.locator('h1').textContent()) === 'Workloads');
  await page.mouse.move(5, 5);
}

async function one({ page }) {
  await page.goto(`${BASE}/#/workloads/default/busy`);
  const main = page.locator('main');
  await until('what KEDA is told, and why', async () => /Concurrency.*(19|20)\.\d\d.*10.*the mean over its window/s.test(await main.textContent()));
  await until('a chart is drawn', async () => /^M[\d. L-]+/.test(await page.locator('.chart path.first').first().getAttribute('d')));
  await until('its topic', async () => /plimsoll\.default\.busy/.test(await main.textContent()));
  const shares = page.getByRole('table', { name: 'Interceptors' }).locator('tbody tr');
  await until('each interceptor and what it has in flight', async () => (await shares.count()) === 2
    && (await shares.locator('td:nth-child(2)').allTextContents()).map(Number).reduce((a, b) => a + b, 0) === 20);
  await page.locator('.chart').first().focus();
  await page.keyboard.press('ArrowLeft');
  await pictures(page, 'workload');
  await page.goto(`${BASE}/#/workloads/default/no-such`);
  await until('one that is not there', async () => /This workload is not there/.test(await main.textContent()));
}

async function cold({ page }) {
  await page.goto(`${BASE}/#/workloads/default/cold`);
  const list = page.getByRole('table', { name: 'Cold starts' }).locator('tbody tr');
  await until('a cold start is under way', async () => (await list.count()) === 1 && /not over/.test(await list.first().textContent()));
  await until('KEDA is told of what is held', async () => /what is held now/.test(await page.locator('main').textContent()));
  await ask('wake it');
  await until('it is over, and how long it took', async () => /\d s|min/.test(await list.first().locator('td').first().textContent()));
}

export const workloads = [
  ['values under load are live', live],
  ['a held request', held],
  ['a cold start', cold],
  ['search', search],
  ['sort', sort],
  ['keys', keyboard],
  ['the list in light, dark and on a phone', async ({ page }) => pictures(page, 'workloads')],
  ['one workload', one],
];
