// What is well and what is not: one line for each thing that can fail, and what to do.

import { get } from './api.js';
import { attribute, h, keyed, panel, rows, table, text } from './dom.js';
import { ago, count, plural, seconds } from './format.js';

const UNKNOWN_MS = 3000;
const SHOWN = 200;
const LATE_S = 3;

/** Each thing that can fail: its name, how it is (`well`, `half`, `bad`), in words. Of `fleet` and the rows alone. */
export function checks(model) {
  const { fleet } = model;
  if (!fleet) return [];
  const ready = fleet.collectors.filter((one) => one.state === 'ready');
  const heard = fleet.collectors.filter((one) => one.state !== 'lost');
  const late = heard.filter((one) => one.lagSeconds > LATE_S);
  const worst = Math.max(0, ...heard.map((one) => one.lagSeconds));
  const lost = fleet.collectors.filter((one) => ['lost', 'silent', 'lagging'].includes(one.state));
  const missing = fleet.interceptors.filter((one) => !one.live);
  let unknown = 0;
  for (const row of model.rows.values()) unknown += row.state === 'unknown' ? 1 : 0;
  const list = [];
  list.push(['Store', fleet.storeAway ? 'bad' : 'well', fleet.storeAway ? `Away: ${fleet.storeAway}. The plan in force stays; nothing can be changed.` : 'Answers.']);
  list.push(['Leader', fleet.leader ? 'well' : 'bad', fleet.leader ? `${fleet.leader}${fleet.leading ? ', which answers here.' : '.'}` : 'Nobody leads: nothing is planned, and no collector is replaced.']);
  list.push(['Brokers', !heard.length ? 'bad' : late.length ? 'bad' : 'well', !heard.length ? 'No collector tells how the log is.'
    : late.length ? `${late.map((one) => one.id).join(', ')} can not read the log to its end: behind by up to ${seconds(worst)}.`
      : `Read to their end by all collectors, ${seconds(worst)} ago at most.`]);
  list.push(['Collectors', lost.length || !ready.length ? 'bad' : ready.length < fleet.collectors.length ? 'half' : 'well',
    lost.length ? `Not well: ${lost.map((one) => `${one.id} (${one.state})`).join(', ')}.` : `${ready.length} of ${plural(fleet.collectors.length, 'collector')} ready.`]);
  list.push(['Interceptors', missing.length || !fleet.interceptors.length ? 'bad' : 'well', !fleet.interceptors.length ? 'None is heard: nothing is known of any workload.'
    : missing.length ? `Missing: ${missing.map((one) => one.name).join(', ')}. What they said last stands, and no zero is told where they contribute.` : `${plural(fleet.interceptors.length, 'interceptor')}, all heard.`]);
  list.push(['Topics', fleet.unassigned ? 'bad' : fleet.totalMoves ? 'half' : 'well', fleet.unassigned ? `${plural(fleet.unassigned, 'topic')} read by nobody.`
    : fleet.totalMoves ? `${plural(fleet.totalMoves, 'topic')} on the move.` : `All ${count(fleet.topics)} are read.`]);
  list.push(['Workloads', unknown ? 'bad' : 'well', unknown ? `${count(unknown)} of ${count(model.rows.size)} unknown: KEDA gets an error for them, and its fallback decides.` : `All ${count(model.rows.size)} known.`]);
  return list.map(([name, how, words]) => ({ name, how, words }));
}

const LOOKS = { well: ['state on', 'well'], half: ['state half', 'changing'], bad: ['state bad', 'not well'] };

/** The view. */
export function health(model, place) {
  const lines = h('ul', { class: 'checks' });
  const interceptors = table('Interceptors', [['Interceptor'], ['State'], ['Evidence up to'], ['Heard by', 'num']]);
  const unknown = table('Unknown workloads', [['Workload'], ['Why']]);
  const none = h('p', { class: 'in note' }, 'None.');
  const found = h('span', { class: 'note' });
  const summary = h('p', { class: 'note' });
  place.replaceChildren(h('div', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Health'), summary),
    h('div', { class: 'body' }, h('section', { class: 'panel', 'aria-label': 'Checks' }, lines),
      panel('Unknown workloads', found, unknown.element, none),
      panel('Interceptors', 'up to its newest heartbeat, all frames of an interceptor are in the log', interceptors.element)));
  let ended = false;
  let timer = 0;

  function follow() {
    const list = checks(model);
    const faults = list.filter((one) => one.how === 'bad').length;
    text(summary, list.length === 0 ? 'Loading.' : faults ? `${plural(faults, 'thing')} not well` : 'all is well');
    keyed(lines, list, (one) => one.name, (one) => {
      const state = h('span');
      const words = h('span');
      return {
        element: h('li', null, h('strong', null, one.name), h('span', null, state), words),
        update(now) {
          attribute(state, 'class', LOOKS[now.how][0]);
          text(state, LOOKS[now.how][1]);
          text(words, now.words);
        },
      };
    });
    const now = model.now();
    rows(interceptors.body, model.fleet?.interceptors ?? [], (one) => `${one.name}-${one.incarnation}`, (one) => [
      { text: one.name }, { text: one.live ? 'live' : 'missing', kind: one.live ? '' : 'fault' }, { text: ago(one.lastHeartbeatUnixMs, now), kind: 'when' }, { text: plural(one.heardBy, 'collector'), kind: 'num' },
    ]);
  }

  async function look() {
    try {
      const page = await get(`/api/v1/workloads?known=false&limit=${SHOWN}`);
      if (ended) return;
      none.hidden = page.total > 0;
      unknown.element.hidden = page.total === 0;
      text(found, page.total > page.items.length ? `${count(page.total)}, of which the first ${SHOWN} are shown` : '');
      rows(unknown.body, page.items, (one) => `${one.namespace}/${one.name}`, (one) => [
        { text: `${one.namespace}/${one.name}`, href: `#/workloads/${one.namespace}/${one.name}` }, { text: one.unknownReason ?? '–', kind: 'grows' },
      ]);
    } catch {
      // The banner says what is amiss.
    }
    if (!ended) timer = setTimeout(look, UNKNOWN_MS);
  }
  model.addEventListener('fleet', follow);
  follow();
  look();
  return () => {
    ended = true;
    clearTimeout(timer);
    model.removeEventListener('fleet', follow);
  };
}
