// Collectors: what is shown, draining with a preview, the token.

import { BASE, check, pictures, until } from './harness.mjs';

const row = (page, id) => page.locator('tr', { has: page.locator(`a[href="#/collectors/${id}"]`) });
const wish = async (page) => (await (await page.request.get(`${BASE}/api/v1/collectors/collector-2`)).json()).wish;
const TOKEN = process.env.TOKEN;

async function shown({ page }) {
  await page.goto(`${BASE}/#/collectors`);
  await until('three collectors are ready', async () => /3 of 3 ready/.test(await page.locator('main').textContent()));
  await until('topics against the limit', async () => /\d+ \/ 200/.test(await row(page, 'collector-0').textContent()));
  const fill = row(page, 'collector-0').locator('.fill').first();
  await until('a bar has a length', async () => (await fill.evaluate((element) => element.getBoundingClientRect().width)) > 0);
  await pictures(page, 'collectors');
}

async function token({ page }) {
  await page.getByRole('button', { name: 'Drain collector-2' }).click();
  await page.locator('#token').waitFor();
  await pictures(page, 'token');
  await page.locator('#token').fill('not the right one, by far');
  await page.keyboard.press('Enter');
  await until('a wrong token is asked for again', async () => /was not taken/.test(await page.locator('#token-why').textContent()));
  await page.locator('#token').fill(TOKEN);
  await page.getByRole('button', { name: 'Use this token' }).click();
}

async function cancelled({ page }) {
  const dialog = page.getByRole('dialog');
  await until('the preview names what would move', async () => /topics would move, in \d+ round/.test(await dialog.textContent()) && (await dialog.locator('tbody tr').count()) > 3);
  await pictures(page, 'drain');
  await page.keyboard.press('Escape');
  await until('Escape closes it', async () => (await dialog.count()) === 0);
  check((await wish(page)) === null, 'nothing was changed');
}

async function drained({ page }) {
  await page.getByRole('button', { name: 'Drain collector-2' }).click();
  await page.getByRole('button', { name: 'Drain it' }).click();
  await until('it is being emptied', async () => /draining/.test(await row(page, 'collector-2').textContent()));
  await until('and is empty', async () => /^0 \//.test(await row(page, 'collector-2').locator('.load .text').first().textContent()));
  const kept = await page.evaluate(() => [sessionStorage.length, localStorage.length, document.cookie].join());
  check(kept === '1,0,', `the token is kept for the session only: ${kept}`);
}

async function back({ page }) {
  await page.getByRole('button', { name: 'Uncordon collector-2' }).click();
  await until('no token is asked for twice', async () => /may get topics again/.test(await page.locator('#said').textContent()));
  await until('it is ready', async () => /ready/.test(await row(page, 'collector-2').textContent()));
  await page.getByRole('button', { name: 'Rebalance' }).click();
  const dialog = page.getByRole('dialog');
  await until('a preview', async () => /busiest collector against the mean/.test(await dialog.textContent()));
  await page.getByRole('button', { name: 'Rebalance', exact: true }).last().click();
  await until('it is asked for', async () => (await dialog.count()) === 0);
}

async function topics({ page }) {
  await page.goto(`${BASE}/#/collectors/collector-0`);
  await until('its topics', async () => /plimsoll\.default\./.test(await page.getByRole('table').textContent()));
  await page.getByRole('searchbox').fill('nothing of that name');
  await until('none found', async () => /0 of 0/.test(await page.locator('main').textContent()));
}

export const collectors = [
  ['collectors', shown],
  ['a token is asked for once', token],
  ['a preview that is cancelled', cancelled],
  ['draining', drained],
  ['taking it back, and a rebalance', back],
  ['the topics of one collector', topics],
];
