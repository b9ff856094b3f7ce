// All workloads: search, sort, live values.

import { get } from './api.js';
import { sparkline } from './chart.js';
import { attribute, h, text } from './dom.js';
import { count, mean } from './format.js';
import { virtualTable } from './table.js';

const COLUMNS = [
  { id: 'name', title: 'Workload', width: 'w-name', sort: 1 },
  { id: 'state', title: 'State', width: 'w-state', sort: 1 },
  { id: 'inFlight', title: 'In flight', kind: 'num', width: 'w-num', sort: -1, hint: 'Requests in flight now, held ones included' },
  { id: 'held', title: 'Held', kind: 'num', width: 'w-num', sort: -1, hint: 'Requests that wait for a cold start' },
  { id: 'conc', title: 'Mean', kind: 'num', width: 'w-wide', sort: -1, hint: 'Mean requests in flight over the window, and the target for each replica' },
  { id: 'rate', title: 'Rate', kind: 'num', width: 'w-wide', sort: -1, hint: 'Requests per second over the window, and the target for each replica' },
  { id: 'wanted', title: 'Wanted', kind: 'num', width: 'w-num', sort: -1, hint: 'Replicas that the values told to KEDA ask for' },
  { id: 'spark', title: '10 minutes', width: 'w-spark' },
  { id: 'provider', title: 'Provider', width: 'w-num', sort: 1 },
  { id: 'collector', title: 'Collector', width: 'w-text', sort: 1 },
];

const STATES = { unknown: 0, held: 1, active: 2, idle: 3 };
const LOOKS = { unknown: 'state bad', held: 'state half', active: 'state on', idle: 'state' };

const VALUES = {
  name: (row) => row.lower,
  state: (row) => STATES[row.state],
  inFlight: (row) => row.inFlight,
  held: (row) => row.held,
  conc: (row) => row.concurrency,
  rate: (row) => row.rate,
  wanted: (row) => row.wanted ?? -1,
  provider: (row) => row.provider,
  collector: (row) => row.collector,
};

/** The rows that are looked for, sorted; names decide between equals, so that the order is the same each time. */
export function arrange(rows, { search, only, by, way }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = rows.filter((row) => words.every((word) => row.lower.includes(word))
    && (only === 'all' || row.state === only || (only === 'active' && row.state === 'held')));
  const value = VALUES[by];
  const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  return wanted.sort((a, b) => way * order(value(a), value(b)) || order(a.lower, b.lower));
}

// What was looked for stays while other views are open.
const chosen = { search: '', only: 'all', by: 'inFlight', way: -1 };

function row() {
  const [namespace, name] = [h('span', { class: 'of' }), h('span')];
  const link = h('a', null, namespace, name);
  const title = h('th', { scope: 'row' }, link);
  const state = h('span');
  const cell = (kind) => h('td', { class: kind });
  const cells = { inFlight: cell('num c-inFlight'), held: cell('num c-held'), conc: cell('num c-conc'), rate: cell('num c-rate'), wanted: cell('num c-wanted') };
  const provider = cell('c-provider');
  const collector = cell('c-collector');
  const spark = sparkline();
  const target = (kind) => {
    const value = h('span');
    const of = h('span', { class: 'of' });
    cells[kind].append(value, of);
    return (now, per) => {
      text(value, now);
      text(of, per === null ? '' : ` / ${per}`);
    };
  };
  const [conc, rate] = [target('conc'), target('rate')];
  const element = h('tr', null, title, h('td', null, state),
    cells.inFlight, cells.held, cells.conc, cells.rate, cells.wanted, h('td', { class: 'c-spark' }, spark.element), provider, collector);
  const number = (td, value, write = count) => {
    text(td, write(value));
    td.classList.toggle('zero', !value);
  };
  return {
    element,
    update(now) {
      text(namespace, `${now.namespace}/`);
      text(name, now.name);
      attribute(link, 'href', `#/workloads/${now.key}`);
      attribute(title, 'title', now.key);
      text(state, now.state);
      attribute(state, 'class', LOOKS[now.state]);
      number(cells.inFlight, now.inFlight);
      number(cells.held, now.held);
      conc(mean(now.concurrency), now.concurrencyTarget);
      rate(mean(now.rate), now.rateTarget);
      cells.conc.classList.toggle('zero', !now.concurrency);
      cells.rate.classList.toggle('zero', !now.rate);
      number(cells.wanted, now.wanted);
      text(provider, now.provider);
      text(collector, now.collector || '–');
      spark.update(now.spark?.values);
    },
  };
}

/** Fetches what was before for rows that have come on the screen. */
function sparks(model) {
  let wanted = new Map();
  let timer = 0;
  async function fetchThem() {
    const names = [...wanted.keys()].slice(0, 100);
    if (!names.length) return;
    try {
      const told = await get(`/api/v1/history?minutes=10&workloads=${names.map(encodeURIComponent).join(',')}`);
      for (const history of told) {
        const now = model.byName.get(history.workload);
        if (now) model.seed(now, history.points);
      }
    } catch {
      // Without it sparklines begin now; the banner says what is amiss.
    }
  }
  return {
    see(items) {
      wanted = new Map(items.filter((item) => !item.spark).map((item) => [item.key, item]));
      clearTimeout(timer);
      if (wanted.size) timer = setTimeout(fetchThem, 120);
      for (const item of items) if (item.spark) model.extend(item);
    },
    end: () => clearTimeout(timer),
  };
}

function figures() {
  const names = ['workloads', 'active', 'in flight', 'held', 'requests/s', 'unknown'];
  const values = names.map(() => h('dd', null, '–'));
  const element = h('dl', { class: 'figures' }, names.map((name, i) => h('div', null, h('dt', null, name), values[i])));
  return {
    element,
    update(rows) {
      const sum = { active: 0, inFlight: 0, held: 0, rate: 0, unknown: 0 };
      for (const one of rows) {
        sum.unknown += one.state === 'unknown' ? 1 : 0;
        sum.active += one.active ? 1 : 0;
        sum.inFlight += one.inFlight;
        sum.held += one.held;
        sum.rate += one.rate;
      }
      [rows.length, sum.active, sum.inFlight, sum.held, sum.rate, sum.unknown].forEach((value, i) => text(values[i], count(value)));
      values[5].classList.toggle('fault', sum.unknown > 0);
    },
  };
}

/** The view. */
export function workloads(model, place) {
  const search = h('input', { type: 'search', placeholder: 'Search namespace/name', 'aria-label': 'Search workloads', value: chosen.search, title: 'Press / to come here' });
  const found = h('p', { class: 'note' });
  const kinds = ['all', 'active', 'held', 'unknown'];
  const only = kinds.map((kind) => h('button', { type: 'button', onclick: () => pick(kind) }, kind[0].toUpperCase() + kind.slice(1)));
  const sums = figures();
  const empty = h('p', { class: 'quiet' });
  const fetching = sparks(model);
  let order = [];
  let seen = { shape: -1, version: -1 };

  const list = virtualTable({
    label: 'Workloads', columns: COLUMNS, make: row, onview: fetching.see,
    onsort(id) {
      const first = COLUMNS.find((column) => column.id === id).sort;
      chosen.way = chosen.by === id ? -chosen.way : first;
      chosen.by = id;
      render(true);
    },
  });

  function pick(kind) {
    chosen.only = kind;
    render(true);
  }

  function render(asked) {
    const all = [...model.rows.values()];
    sums.update(all);
    only.forEach((button, i) => attribute(button, 'aria-pressed', String(kinds[i] === chosen.only)));
    // Rows do not move away from under the pointer; what came or went is sorted in all the same.
    if (asked || seen.shape !== model.shape || !list.inUse()) order = arrange(all, chosen);
    seen = { shape: model.shape, version: model.version };
    const narrowed = chosen.search.trim() || chosen.only !== 'all';
    text(found, narrowed ? `${count(order.length)} of ${count(all.length)}` : '');
    empty.hidden = order.length > 0;
    list.element.hidden = order.length === 0;
    if (model.total === null) text(empty, 'Loading.');
    else if (all.length) text(empty, 'No workload is like that.');
    else empty.replaceChildren(h('strong', null, 'No workload yet.'), 'Workloads appear here as soon as an InterceptorRoute or HTTPScaledObject describes one: in the cluster, or in a file of --routes.');
    list.show(order, chosen);
  }

  search.addEventListener('input', () => {
    chosen.search = search.value;
    render(true);
  });
  const slash = (event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || /input|select|textarea/i.test(event.target.tagName)) return;
    event.preventDefault();
    search.focus();
  };
  document.addEventListener('keydown', slash);

  place.replaceChildren(
    h('div', { class: 'head' }, h('h1', { tabindex: '-1' }, 'Workloads'), found, h('span', { class: 'grow' }),
      h('div', { class: 'group', role: 'group', 'aria-label': 'Which workloads' }, only), search),
    sums.element, empty, list.element,
  );
  const follow = () => render(false);
  model.addEventListener('rows', follow);
  // Sparklines go on while nothing changes.
  const tick = setInterval(list.refresh, 5000);
  render(true);
  return () => {
    model.removeEventListener('rows', follow);
    document.removeEventListener('keydown', slash);
    clearInterval(tick);
    fetching.end();
    list.end();
  };
}
