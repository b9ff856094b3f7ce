// The collectors: how full, how loaded, what moves, and what can be asked of them.

import { get } from './api.js';
import { attribute, h, keyed, panel, rows, table, text } from './dom.js';
import { count, mean, plural, seconds } from './format.js';
import { act, propose } from './preview.js';

const WELL = { ready: 'state on', joining: 'state half', 'held-off': 'state half', cordoned: 'state half', draining: 'state half', leaving: 'state half', retiring: 'state half' };
const TOPICS_MS = 3000;
const PAGE = 100;

/** A bar with its text; `line` marks what it is to be held against. */
function load(name) {
  const fill = h('span', { class: 'fill' });
  const line = h('span', { class: 'line', hidden: true });
  const words = h('span', { class: 'text' });
  const element = h('div', { class: 'load', title: name }, h('span', { class: 'track' }, fill, line), words);
  return {
    element,
    update(part, mark, told, isOver) {
      fill.style.width = `${Math.min(100, Math.max(0, part * 100))}%`;
      line.hidden = mark === null;
      if (mark !== null) line.style.left = `${Math.min(100, mark * 100)}%`;
      element.classList.toggle('over', Boolean(isOver));
      text(words, told);
    },
  };
}

function actions(id) {
  const path = (what) => `/api/v1/collectors/${encodeURIComponent(id)}/${what}`;
  const button = (what, onclick) => h('button', { type: 'button', onclick, 'aria-label': `${what} ${id}` }, what);
  const cordon = button('Cordon', () => act(path('cordon'), `${id} gets nothing new from now on.`));
  const uncordon = button('Uncordon', () => act(path('uncordon'), `${id} may get topics again.`));
  const drain = button('Drain', () => propose({
    title: `Drain ${id}?`, asked: { drain: [id] }, action: 'Drain it', path: path('drain'), done: `${id} is being emptied.`,
    note: 'Its topics go to the others, each when the other one has read its window: no value is missing meanwhile. It stays empty until it is uncordoned.',
  }));
  return {
    element: h('td', { class: 'acts' }, cordon, uncordon, drain),
    update(one) {
      uncordon.hidden = !one.wish;
      cordon.hidden = Boolean(one.wish);
      drain.hidden = one.wish === 'drain';
    },
  };
}

function row() {
  const link = h('a');
  const state = h('span');
  const because = h('div', { class: 'because' });
  const [provider, lag] = [h('td', { class: 'c-provider' }), h('td', { class: 'num c-lag' })];
  const [topics, frames] = [load('Topics against the policy’s limit'), load('Frames a second; the line is the mean')];
  let acts = null;
  const element = h('tr', null, h('th', { scope: 'row' }, link), h('td', null, state, because), provider,
    h('td', null, topics.element), h('td', { class: 'c-load' }, frames.element), lag);
  return {
    element,
    update({ one, limit, most, average }) {
      if (!acts) {
        acts = actions(one.id);
        element.append(acts.element);
      }
      text(link, one.id);
      attribute(link, 'href', `#/collectors/${encodeURIComponent(one.id)}`);
      text(state, one.state);
      attribute(state, 'class', WELL[one.state] ?? 'state bad');
      text(because, one.because ?? '');
      text(provider, one.provider ?? '–');
      const coming = one.incoming ? ` +${one.incoming}` : '';
      topics.update(one.topics / limit, null, `${count(one.topics)}${coming} / ${count(limit)}`, one.topics > limit);
      frames.update(most > 0 ? one.load / most : 0, most > 0 ? average / most : null, mean(one.load), false);
      text(lag, one.state === 'lost' ? '–' : seconds(one.lagSeconds));
      lag.classList.toggle('fault', one.lagSeconds > 3);
      acts.update(one);
    },
  };
}

function moving() {
  const { body, element } = table('Moves under way', [['Topic'], ['From'], ['To'], ['Warm']]);
  const none = h('p', { class: 'in note' }, 'Nothing is on its way.');
  const note = h('span', { class: 'note' });
  return {
    element: panel('Moves under way', note, element, none),
    update(fleet) {
      none.hidden = fleet.moves.length > 0;
      element.hidden = fleet.moves.length === 0;
      text(note, fleet.totalMoves > fleet.moves.length ? `${count(fleet.totalMoves)}, of which the first ${fleet.moves.length} are shown` : '');
      rows(body, fleet.moves, (move) => move.topic, (move) => [
        { text: move.topic }, { text: move.from ?? 'nobody' }, { text: move.to }, { text: move.warm ? 'yes: about to take over' : 'no: reads its window' },
      ]);
    },
  };
}

/** The view of all collectors. */
export function collectors(model, place) {
  const summary = h('p', { class: 'note' });
  const rebalance = h('button', { type: 'button', onclick: () => propose({
    title: 'Rebalance?', asked: { rebalance: true }, action: 'Rebalance', path: '/api/v1/assignment/rebalance', done: 'The leader evens out the load in its next round.',
    note: 'Evens out the load once, small imbalances too.',
  }) }, 'Rebalance');
  const { body, element } = table('Collectors', [['Collector'], ['State'], ['Provider', 'c-provider'], ['Topics'], ['Load, frames/s', 'c-load'], ['Lag', 'num c-lag'], ['', 'acts']]);
  const empty = h('p', { class: 'quiet' });
  const moves = moving();
  place.replaceChildren(h('div', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Collectors'), summary, h('span', { class: 'grow' }), rebalance), empty,
    h('div', { class: 'body' }, h('div', { class: 'panel' }, element), moves.element));
  function follow() {
    const fleet = model.fleet;
    element.parentElement.hidden = !fleet?.collectors.length;
    empty.hidden = Boolean(fleet?.collectors.length);
    rebalance.disabled = !fleet?.collectors.length;
    if (!fleet) return void text(empty, 'Loading.');
    if (!fleet.collectors.length) empty.replaceChildren(h('strong', null, 'No collector has registered.'), 'Nothing is read, so all values are unknown. Start one: plimsoll collector.');
    const ready = fleet.collectors.filter((one) => one.state === 'ready');
    const most = Math.max(0, ...fleet.collectors.map((one) => one.load));
    const average = ready.reduce((sum, one) => sum + one.load, 0) / Math.max(1, ready.length);
    const limit = fleet.policy.maxPerHost;
    text(summary, `${ready.length} of ${fleet.collectors.length} ready, ${plural(fleet.topics, 'topic')}`);
    keyed(body, fleet.collectors.map((one) => ({ one, limit, most, average })), ({ one }) => one.id, row);
    moves.update(fleet);
  }
  model.addEventListener('fleet', follow);
  follow();
  return () => model.removeEventListener('fleet', follow);
}

/** The view of one collector: its topics. */
export function collector(model, place, id) {
  const { body, element } = table(`Topics of ${id}`, [['Topic'], ['Workload'], ['State'], ['Frames/s', 'num'], ['Why it is here']]);
  const state = h('span', { class: 'state' });
  const because = h('p', { class: 'note' });
  const found = h('span', { class: 'note' });
  const search = h('input', { type: 'search', placeholder: 'Search', 'aria-label': 'Search its topics' });
  const more = h('button', { type: 'button', hidden: true }, 'Show more');
  place.replaceChildren(
    h('div', { class: 'head' }, h('a', { href: '#/collectors' }, 'Collectors'), h('span', { 'aria-hidden': 'true' }, '/'), h('h1', { tabindex: '-1' }, id), state, because, h('span', { class: 'grow' }), search),
    h('div', { class: 'body' }, panel('Its topics', found, element, h('div', { class: 'in' }, more))));
  let limit = PAGE;
  let ended = false;
  let timer = 0;
  let turn = 0;
  function follow() {
    const one = model.fleet?.collectors.find((known) => known.id === id);
    text(state, one?.state ?? 'not known');
    attribute(state, 'class', one ? WELL[one.state] ?? 'state bad' : 'state bad');
    text(because, one?.because ?? '');
  }
  async function look() {
    clearTimeout(timer);
    turn += 1;
    const mine = turn;
    try {
      const page = await get(`/api/v1/topics?collector=${encodeURIComponent(id)}&limit=${limit}&q=${encodeURIComponent(search.value.trim())}`);
      // A later question may have been answered before.
      if (ended || mine !== turn) return;
      rows(body, page.items, (one) => one.topic, (one) => [
        { text: one.topic, kind: 'grows' }, { text: one.workload ?? '–', href: one.workload && `#/workloads/${one.workload}` },
        { text: one.incoming ? `moving to ${one.incoming}` : one.state, kind: one.state === 'unknown' ? 'fault' : '' }, { text: mean(one.load), kind: 'num' }, { text: one.reason ?? '–', kind: 'grows' },
      ]);
      text(found, `${count(page.items.length)} of ${count(page.total)}`);
      more.hidden = page.items.length >= page.total;
    } catch {
      // The banner says what is amiss; the next look may go well.
    }
    if (!ended && mine === turn) timer = setTimeout(look, TOPICS_MS);
  }
  more.addEventListener('click', () => {
    limit += PAGE * 5;
    look();
  });
  search.addEventListener('input', look);
  model.addEventListener('fleet', follow);
  follow();
  look();
  return () => {
    ended = true;
    clearTimeout(timer);
    model.removeEventListener('fleet', follow);
  };
}
