// The page: which view is shown, and how the connection is.

import { assignment } from './assignment.js';
import { collector, collectors } from './collectors.js';
import { text } from './dom.js';
import { plural, seconds } from './format.js';
import { checks, health } from './health.js';
import { Model } from './model.js';
import { listen } from './stream.js';
import { workload } from './workload.js';
import { workloads } from './workloads.js';

const model = new Model();
const main = document.getElementById('main');
let leave = () => {};

/** A part of the address; one that nobody can have written right stays as it is. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The view that the address names: `#/workloads/shop/web`. */
function route() {
  const [view = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/').map(decoded);
  if (view === 'workloads' && rest.length === 2) return ['workloads', `${rest.join('/')}`, (at) => workload(model, at, rest.join('/'))];
  if (view === 'collectors' && rest.length === 1) return ['collectors', rest[0], (at) => collector(model, at, rest[0])];
  if (view === 'collectors') return [view, 'Collectors', (at) => collectors(model, at)];
  if (view === 'assignment') return [view, 'Assignment', (at) => assignment(model, at)];
  if (view === 'health') return [view, 'Health', (at) => health(model, at)];
  return ['workloads', 'Workloads', (at) => workloads(model, at)];
}

function show(moved) {
  leave();
  const [view, title, make] = route();
  document.title = `${title} · Plimsoll`;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.dataset.view === view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  main.scrollTop = 0;
  leave = make(main);
  // Who came by a link hears where they are; on the first load the focus stays where a page has it.
  if (moved) main.querySelector('h1')?.focus();
}

function connection() {
  const { state, detail, fleet } = model;
  const banner = document.getElementById('banner');
  const lost = state === 'lost';
  document.body.dataset.state = state;
  document.getElementById('link').dataset.state = state;
  text(document.getElementById('link-text'), state !== 'live' ? (lost ? 'disconnected' : 'connecting') : fleet?.leader ? `live, generation ${fleet.generation}` : 'live, nobody leads');
  banner.hidden = !lost;
  // A screen reader is told once; the seconds beside it are not read out each time.
  text(document.getElementById('banner-title'), lost ? 'Disconnected.' : '');
  if (!lost) return;
  const passed = Math.round((Date.now() - model.lostAt) / 1000);
  text(document.getElementById('banner-text'), `${detail} What you see is as of ${passed < 1 ? 'just now' : `${seconds(passed)} ago`}. Trying again.`);
}

function faults() {
  const place = document.getElementById('faults');
  const number = checks(model).filter((one) => one.how === 'bad').length;
  place.hidden = number === 0;
  text(place, number);
  place.setAttribute('aria-label', plural(number, 'fault'));
}

model.addEventListener('state', connection);
model.addEventListener('fleet', () => {
  connection();
  faults();
});
setInterval(() => { if (model.state === 'lost') connection(); }, 1000);
document.getElementById('skip').addEventListener('click', (event) => {
  // The address names a view, so it can't name a place in the page.
  event.preventDefault();
  main.focus();
});
window.addEventListener('hashchange', () => show(true));
show(false);
listen({ event: (name, data) => model.take(name, data), state: (state, detail) => model.setState(state, detail) });
