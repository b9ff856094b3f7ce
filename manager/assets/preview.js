// What a change would move, asked of the planner before anything is changed.

import { call } from './api.js';
import { confirm, say } from './dialog.js';
import { h } from './dom.js';
import { count, mean, over, plural } from './format.js';

const NAMED = 100;

/** Tries a change out. */
export const tryOut = async (asked) => (await call('POST', '/api/v1/assignment/plan', asked)).data;

/** What it would move, in words and a table. */
export function shown(trial) {
  const rounds = `in ${plural(trial.rounds, 'round')}`;
  const lines = [trial.totalMoves === 0 ? 'Nothing would move.' : `${plural(trial.totalMoves, 'topic')} would move, ${rounds}.`];
  const { before, after } = trial;
  lines.push(`The busiest collector against the mean: ${over(before.maxOverMean)} now, ${over(after.maxOverMean)} then. `
    + `Topics on one: ${before.fewestTopics} to ${before.mostTopics} now, ${after.fewestTopics} to ${after.mostTopics} then.`);
  if (!trial.settled) lines.push('It does not come to rest within the rounds that were tried.');
  const faults = [];
  if (trial.unassigned.length) faults.push(`${plural(trial.unassigned.length, 'topic')} would be read by nobody: ${trial.unassigned.slice(0, 5).join(', ')}`);
  const obstacles = Object.entries(trial.obstacles);
  if (obstacles.length) faults.push(`${plural(obstacles.length, 'topic')} could not be placed as wanted: ${obstacles.slice(0, 3).map(([topic, why]) => `${topic} (${why})`).join(', ')}`);
  const table = trial.moves.length > 0 && h('div', { class: 'wide', tabindex: '0', role: 'group', 'aria-label': 'Moves' }, h('table', { 'aria-label': 'Moves' },
    h('thead', null, h('tr', null, ['Topic', 'From', 'To', 'Why'].map((title) => h('th', { scope: 'col' }, title)), h('th', { scope: 'col', class: 'num' }, 'Frames/s'))),
    h('tbody', null, trial.moves.slice(0, NAMED).map((move) => h('tr', null, h('th', { scope: 'row' }, move.topic),
      h('td', null, move.from ?? 'nobody'), h('td', null, move.to ?? 'nobody'), h('td', null, `${move.reason}${move.forced ? ', at once' : ''}`), h('td', { class: 'num' }, mean(move.load)))))));
  return h('div', { class: 'trial' }, lines.map((line) => h('p', null, line)), faults.map((line) => h('p', { class: 'fault' }, line)), table,
    trial.totalMoves > NAMED && h('p', { class: 'note' }, `The first ${count(NAMED)} are shown.`));
}

/** Tries a change out, shows what it would do, and does it when told to. */
export async function propose({ title, asked, action, path, done, note }) {
  let trial;
  try {
    trial = await tryOut(asked);
  } catch (refused) {
    say(`Nothing was changed: ${refused.message}`);
    return;
  }
  await confirm({
    title, action, body: [note && h('p', { class: 'note' }, note), shown(trial)],
    async act() {
      await call('POST', path, null);
      say(done);
    },
  });
}

/** Does what needs no preview. */
export async function act(path, done) {
  try {
    await call('POST', path, null);
    say(done);
  } catch (refused) {
    say(`Nothing was changed: ${refused.message}`);
  }
}
