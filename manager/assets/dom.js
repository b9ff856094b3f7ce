// Makes and patches elements. Text is always text: nothing that comes from the API is ever read as markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, given, children) {
  for (const [name, value] of Object.entries(given ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'css') Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element: `h('a', {href: '#/'}, 'text', other)`. `onclick` and its like are listeners, `css` sets style properties. */
export function h(name, given, ...children) {
  return fill(document.createElement(name), given, children);
}

/** An element of a drawing. */
export function s(name, given, ...children) {
  return fill(document.createElementNS(SVG, name), given, children);
}

/** Sets text where it differs, so that nothing is painted anew, nor a selection lost, for what stays the same. */
export function text(element, value) {
  const wanted = String(value);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Sets or removes an attribute where it differs. */
export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value);
  }
}

/**
 * Keeps a parent's children as the items are: an element for each, made once by `make(item)`, which gives `{element, update(item)}`.
 * What has the focus keeps it, as no element is made anew.
 */
export function keyed(parent, items, key, make) {
  const known = parent.keyedChildren ?? new Map();
  const kept = new Map();
  let before = null;
  for (const item of items) {
    const name = key(item);
    const child = known.get(name) ?? make(item);
    kept.set(name, child);
    child.update(item);
    const place = before ? before.nextSibling : parent.firstChild;
    if (child.element !== place) parent.insertBefore(child.element, place);
    before = child.element;
  }
  for (const [name, child] of known) {
    if (!kept.has(name)) child.element.remove();
  }
  parent.keyedChildren = kept;
}

/** Rows of a table that are made anew only where their texts differ: `cells(item)` gives `[text or element maker, class]`. */
export function rows(body, items, key, cells) {
  keyed(body, items, key, () => {
    const element = h('tr');
    let told = null;
    return {
      element,
      update(item) {
        const wanted = cells(item);
        const now = JSON.stringify(wanted.map(({ text: shown, kind, title, href }) => [shown, kind, title, href]));
        if (now === told) return;
        told = now;
        element.replaceChildren(...wanted.map((cell, at) => h(at === 0 ? 'th' : 'td', {
          scope: at === 0 ? 'row' : null, class: cell.kind, title: cell.title,
        }, cell.href ? h('a', { href: cell.href }, cell.text) : cell.text)));
      },
    };
  });
}

/** A panel with a title. */
export function panel(title, note, ...children) {
  const id = `t-${title.toLowerCase().replace(/[^a-z]+/g, '-')}`;
  return h('section', { class: 'panel', 'aria-labelledby': id },
    h('header', null, h('h2', { id }, title), note && (note.nodeType ? note : h('span', { class: 'note' }, note))), ...children);
}

/** A table in a panel, with its head: columns are `[title, class]`. Gives its body and the element to show. */
export function table(label, columns) {
  const body = h('tbody');
  const head = columns.map(([title, kind]) => h('th', { scope: 'col', class: kind }, title || h('span', { class: 'unseen' }, 'Actions')));
  const element = h('div', { class: 'wide', tabindex: '0', role: 'group', 'aria-label': label },
    h('table', { 'aria-label': label }, h('thead', null, h('tr', null, head)), body));
  return { body, element };
}
