// One workload: its last hour, what KEDA is told and why, who reads it, its cold starts.

import { get } from './api.js';
import { chart } from './chart.js';
import { attribute, h, panel, rows, table, text } from './dom.js';
import { ago, count, mean, seconds, time } from './format.js';
import { decided } from './decided.js';

const HOUR_MS = 3600000;
const LOOK_MS = 2000;
const HISTORY_MS = 15000;

const TERMS = { mean: 'the mean over its window', held: 'what is held now', burst: 'the burst in the last tenth of its window' };

/** What KEDA is told, term by term. */
function told() {
  const { body, element } = table('What KEDA is told', [['Value'], ['Told', 'num'], ['For each replica', 'num'], ['Made of']]);
  element.querySelector('table').classList.add('terms');
  const story = h('ul', { class: 'story in' });
  return {
    element: panel('What KEDA is told now', null, element, story),
    update(explained) {
      const view = explained.workload;
      const now = view?.told;
      const told = (value, words) => (value || !view.zeroIsUnknown ? words : 'an error');
      const lines = now ? [
        ['Concurrency', told(now.concurrency.value, mean(now.concurrency.value)), now.concurrency.target,
          `${TERMS[now.concurrency.because]}; mean ${mean(now.concurrency.mean)}, held ${now.concurrency.held}, burst ${mean(now.concurrency.burst)}`],
        ['Requests per second', told(now.requestRate.value, mean(now.requestRate.value)), now.requestRate.target,
          `mean ${mean(now.requestRate.mean)}${now.requestRate.raisedForHeld ? ', raised to one target while requests are held' : ''}`],
        ['Active', told(now.activity.active, now.activity.active ? 'yes' : 'no'), null,
          `${count(now.activity.inFlight)} in flight; last arrival ${now.activity.secondsSinceArrival === null ? 'never seen' : `${seconds(now.activity.secondsSinceArrival)} ago`}, counts for ${seconds(now.activity.activityWindowSeconds)}`],
      ] : [['All values', 'an error', null, view?.unknownReason ?? 'No resource describes this workload.']];
      rows(body, lines, (line) => line[0], ([name, value, target, because]) => [
        { text: name }, { text: value, kind: 'num now' }, { text: target === null || target === undefined ? '–' : count(target), kind: 'num' }, { text: because, kind: 'grows' },
      ]);
      const said = explained.because;
      if (story.dataset.told !== said.join()) {
        story.dataset.told = said.join();
        story.replaceChildren(...said.map((line) => h('li', null, line)));
      }
    },
  };
}

function facts() {
  const names = ['Topic', 'Collector', 'Moving to', 'Pinned to', 'Provider', 'Kind', 'Windows', 'Admitted', 'Last arrival', 'Evidence up to', 'Frames'];
  const values = new Map(names.map((name) => [name, h('dd', null, '–')]));
  const element = panel('Where it is read', null, h('dl', { class: 'facts in' }, names.map((name) => [h('dt', null, name), values.get(name)])));
  return {
    element,
    update({ topic, workload: view }, now) {
      const set = (name, value) => text(values.get(name), value ?? '–');
      set('Topic', topic.topic);
      set('Collector', topic.collector ? `${topic.collector} (${topic.state})` : topic.state);
      set('Moving to', topic.incoming);
      set('Pinned to', topic.pinned);
      set('Provider', topic.provider);
      set('Kind', view?.kind ?? 'registered by hand');
      set('Windows', view && `concurrency ${seconds(view.windowSeconds.concurrency)}, rate ${seconds(view.windowSeconds.requestRate)}`);
      set('Admitted', view && `${count(view.admittedTotal)} requests`);
      set('Last arrival', view && ago(view.lastArrivalUnixMs, now));
      set('Evidence up to', view && ago(view.evidenceUnixMs, now));
      set('Frames', `${mean(topic.load)} a second`);
    },
  };
}

function coldStarts() {
  const { body, element } = table('Cold starts', [['Began'], ['Took', 'num'], ['Most held', 'num']]);
  const none = h('p', { class: 'in note' }, 'None since this manager started.');
  return {
    element: panel('Cold starts', 'from the first held request until none is held, to within a second', element, none),
    update(list) {
      none.hidden = list.length > 0;
      element.hidden = list.length === 0;
      rows(body, [...list].reverse(), (one) => one.beganUnixMs, (one) => [
        { text: time(one.beganUnixMs) }, { text: one.seconds === null ? 'not over' : seconds(one.seconds), kind: 'num' }, { text: count(one.held), kind: 'num' },
      ]);
    },
  };
}

function interceptors() {
  const { body, element } = table('Interceptors', [['Interceptor'], ['Requests in flight', 'num'], ['Held', 'num'], ['Admitted', 'num'], ['Heartbeat'], ['State']]);
  const note = h('p', { class: 'in note' });
  return {
    element: panel('Its interceptors', null, element, note),
    update(shares, fleet, now) {
      const live = new Map((fleet?.interceptors ?? []).map((one) => [`${one.name}-${one.incarnation}`, one]));
      const list = shares?.interceptors ?? [];
      element.hidden = list.length === 0;
      note.hidden = list.length > 0;
      text(note, shares?.missing ?? 'No interceptor has told anything of this workload yet.');
      rows(body, list, (one) => `${one.name}-${one.incarnation}`, (one) => {
        const heard = live.get(`${one.name}-${one.incarnation}`);
        return [
          { text: one.name }, { text: count(one.inFlight), kind: 'num' }, { text: count(one.held), kind: 'num' }, { text: count(one.admittedTotal), kind: 'num' },
          { text: heard ? ago(heard.lastHeartbeatUnixMs, now) : '–', kind: 'when' }, { text: one.live ? 'live' : 'missing: what it said last stands', kind: one.live ? '' : 'fault' },
        ];
      });
    },
  };
}

/** The view of one workload. */
export function workload(model, place, key) {
  const state = h('span', { class: 'state' });
  const missing = h('p', { class: 'quiet', hidden: true });
  const figures = ['in flight', 'held', 'mean', 'requests/s', 'wanted replicas'].map((name) => [name, h('dd', null, '–')]);
  const flight = chart('Requests in flight', 'requests', [
    { name: 'In flight, peak', kind: 'first', of: (point) => point.inFlight, write: count },
    { name: 'Mean', kind: 'second', of: (point) => point.concurrency, write: mean },
    { name: 'Held', kind: 'third', of: (point) => point.held, write: count },
  ]);
  const rate = chart('Request rate', 'requests a second', [{ name: 'Requests per second', kind: 'first', of: (point) => point.requestRate, write: mean }]);
  const parts = { told: told(), facts: facts(), cold: coldStarts(), interceptors: interceptors(), decided: decided('What was decided about it') };
  const body = h('div', { class: 'body' },
    h('div', { class: 'two' }, panel('Requests in flight', 'last hour', flight.element), panel('Request rate', 'last hour', rate.element)),
    parts.told.element,
    h('div', { class: 'two' }, parts.facts.element, parts.cold.element),
    parts.interceptors.element, parts.decided.element);
  place.replaceChildren(
    h('div', { class: 'head' }, h('a', { href: '#/workloads' }, 'Workloads'), h('span', { 'aria-hidden': 'true' }, '/'), h('h1', { tabindex: '-1' }, key), state),
    h('dl', { class: 'figures' }, figures.map(([name, value]) => h('div', null, h('dt', null, name), value))), missing, body);

  let points = [];
  let ended = false;
  let timers = [];

  /** The last point is drawn anew each second, from what the stream says. */
  function follow() {
    const row = model.byName.get(key);
    if (!row) return;
    text(state, row.state);
    attribute(state, 'class', { unknown: 'state bad', held: 'state half', active: 'state on', idle: 'state' }[row.state]);
    const values = [count(row.inFlight), count(row.held), mean(row.concurrency), mean(row.rate), count(row.wanted)];
    figures.forEach(([, value], i) => text(value, values[i]));
    const now = model.now();
    const newest = { unixMs: now, known: row.known && row.inFlight !== null, inFlight: row.inFlight, held: row.held, concurrency: row.concurrency, requestRate: row.rate };
    const drawn = [...points.filter((point) => point.unixMs > now - HOUR_MS), newest];
    flight.update(drawn, now);
    rate.update(drawn, now);
  }

  async function history() {
    const [view] = await get(`/api/v1/history?workloads=${encodeURIComponent(key)}`);
    if (ended || !view) return;
    // A point is at the end of what it is about.
    points = view.points.slice(0, -1).map((point) => ({ ...point, unixMs: point.unixMs + view.stepSeconds * 1000 }));
    follow();
  }

  async function look() {
    const view = await get(`/api/v1/workloads/${key.split('/').map(encodeURIComponent).join('/')}`);
    const [explained, told] = await Promise.all([
      get(`/api/v1/topics/${encodeURIComponent(view.topic)}/explain`), get(`/api/v1/history?minutes=1&workloads=${encodeURIComponent(key)}`),
    ]);
    const shares = await get(`/api/v1/workloads/${key.split('/').map(encodeURIComponent).join('/')}/interceptors`);
    if (ended) return;
    const now = model.now();
    missing.hidden = true;
    body.hidden = false;
    parts.told.update(explained);
    parts.facts.update(explained, now);
    parts.cold.update(told[0]?.coldStarts ?? []);
    parts.interceptors.update(shares, model.fleet, now);
    parts.decided.update(explained.decisions);
  }

  /** Again and again; each look waits for the one before. */
  function repeat(what, every) {
    const again = async () => {
      try {
        await what();
      } catch (refused) {
        if (refused.status === 404 && !ended) {
          body.hidden = true;
          missing.hidden = false;
          missing.replaceChildren(h('strong', null, 'This workload is not there.'), refused.message);
        }
      }
      if (!ended) timers.push(setTimeout(again, every));
      timers = timers.slice(-8);
    };
    again();
  }

  repeat(history, HISTORY_MS);
  repeat(look, LOOK_MS);
  const tick = setInterval(follow, 1000);
  model.addEventListener('rows', follow);
  follow();
  return () => {
    ended = true;
    model.removeEventListener('rows', follow);
    clearInterval(tick);
    timers.forEach(clearTimeout);
  };
}
