// The plan: its generation, the policy that makes it, and what was decided of late and why.

import { get } from './api.js';
import { decided } from './decided.js';
import { h, text } from './dom.js';
import { count } from './format.js';
import { policy } from './policy.js';

const SHOWN = 200;
const KINDS = [['', 'All'], ['move', 'Moves'], ['arrived', 'Arrivals'], ['collector', 'Collectors'], ['scale', 'Fleet size'], ['topic', 'Topics']];

/** The view. */
export function assignment(model, place) {
  const figures = ['generation', 'topics', 'unassigned', 'moving', 'collectors ready'].map((name) => [name, h('dd', null, '–')]);
  const leader = h('p', { class: 'note' });
  const kind = h('select', { 'aria-label': 'Which decisions' }, KINDS.map(([value, title]) => h('option', { value }, title)));
  const history = decided('Decisions', h('span', { class: 'acts-row' }, kind, h('span', { class: 'note' }, 'the newest first')));
  const editor = policy();
  place.replaceChildren(
    h('div', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Assignment'), leader),
    h('dl', { class: 'figures' }, figures.map(([name, value]) => h('div', null, h('dt', null, name), value))),
    h('div', { class: 'body' }, editor.element, history.element));
  let newest = -1;
  let ended = false;

  async function look() {
    const wanted = kind.value;
    try {
      const page = await get(`/api/v1/decisions?limit=${SHOWN}${wanted && `&kind=${wanted}`}`);
      if (!ended && wanted === kind.value) history.update(page.items);
    } catch {
      // Looked for again with the next message of the stream.
      newest = -1;
    }
  }

  function follow() {
    const fleet = model.fleet;
    if (!fleet) return;
    const ready = fleet.collectors.filter((one) => one.state === 'ready').length;
    [fleet.generation, fleet.topics, fleet.unassigned, fleet.totalMoves, ready].forEach((value, i) => text(figures[i][1], count(value)));
    figures[2][1].classList.toggle('fault', fleet.unassigned > 0);
    text(leader, fleet.leader ? `${fleet.leader} leads${fleet.leading ? ', and answers here' : ''}` : 'nobody leads: nothing is planned');
    editor.refresh(fleet.policy);
    const key = `${fleet.run}-${fleet.newestDecision}`;
    if (key !== newest) {
      newest = key;
      look();
    }
  }
  kind.addEventListener('change', look);
  model.addEventListener('fleet', follow);
  follow();
  return () => {
    ended = true;
    model.removeEventListener('fleet', follow);
  };
}
