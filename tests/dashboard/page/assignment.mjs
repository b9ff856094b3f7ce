// The plan's history, and the policy's editor.

import { BASE, check, pictures, until } from './harness.mjs';

const TOKEN = process.env.TOKEN;
const inForce = async (page) => (await page.request.get(`${BASE}/api/v1/policy`)).json();
const field = (page, name) => page.locator(`[name="${name}"]`);

async function history({ page }) {
  await page.goto(`${BASE}/#/assignment`);
  const table = page.getByRole('table', { name: 'Decisions' });
  await until('moves, and why', async () => /collector-2 → collector-\d/.test(await table.textContent()));
  await page.getByLabel('Which decisions').selectOption('collector');
  await until('only collectors', async () => /ready → draining/.test(await table.textContent()) && !/created/.test(await table.textContent()));
  await page.getByLabel('Which decisions').selectOption('');
}

async function refused({ page }) {
  await until('the policy in force', async () => (await field(page, 'maxPerHost').inputValue()) === '200');
  for (const [value, reason] of [['0', /at least 1/], ['many', /whole number/], ['-3', /whole number/]]) {
    await field(page, 'maxPerHost').fill(value);
    await page.getByRole('button', { name: 'Preview' }).click();
    await until(`${value} is refused beside its field`, async () => reason.test(await page.locator('#e-maxPerHost').textContent()));
    check((await field(page, 'maxPerHost').getAttribute('aria-invalid')) === 'true', 'the field is marked');
  }
  check((await inForce(page)).maxPerHost === 200, 'nothing was changed');
  await pictures(page, 'policy-error');
}

async function set({ page }) {
  await field(page, 'maxPerHost').fill('150');
  await page.getByRole('button', { name: 'Preview' }).click();
  const dialog = page.getByRole('dialog');
  await until('what it would move', async () => /would move/.test(await dialog.textContent()));
  check((await inForce(page)).maxPerHost === 200, 'a preview changes nothing');
  await page.getByRole('button', { name: 'Set the policy' }).click();
  await until('it is in force', async () => (await inForce(page)).maxPerHost === 150);
  await until('the dialog is gone', async () => (await dialog.count()) === 0);
}

async function overtaken({ page }) {
  await field(page, 'maxPerHost').fill('120');
  await page.getByRole('button', { name: 'Preview' }).click();
  await page.getByRole('button', { name: 'Set the policy' }).waitFor();
  const other = { kind: 'max-per-host', maxPerHost: 99, minCollectors: 1, maxCollectors: 50 };
  const answer = await page.request.put(`${BASE}/api/v1/policy`, { data: other, headers: { authorization: `Bearer ${TOKEN}` } });
  check(answer.ok(), `somebody else sets it: ${answer.status()}`);
  await page.getByRole('button', { name: 'Set the policy' }).click();
  await until('it is told that somebody was quicker', async () => /Somebody else has changed the policy/.test(await page.getByRole('dialog').textContent()));
  check((await inForce(page)).maxPerHost === 99, 'nothing was overwritten');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Show the policy in force' }).click();
  await until('what is in force is shown', async () => (await field(page, 'maxPerHost').inputValue()) === '99');
  await page.getByRole('button', { name: 'Reset to the flags' }).click();
  await page.getByRole('button', { name: 'Reset it' }).click();
  await until('the flags rule again', async () => (await field(page, 'maxPerHost').inputValue()) === '200');
}

export const assignment = [
  ['decisions', history],
  ['a wrong policy is refused', refused],
  ['a policy is tried, then set', set],
  ['a policy that somebody else has changed', overtaken],
  ['the plan in light, dark and on a phone', async ({ page }) => pictures(page, 'assignment')],
];
