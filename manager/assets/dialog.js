// Asks before something is done. The browser's own dialog keeps the focus inside, and gives it back.

import { h } from './dom.js';

let opened = 0;

function open(title, inside, buttons) {
  // One may be open above another.
  opened += 1;
  const id = `dialog-${opened}`;
  const heading = h('h2', { id }, title);
  const form = h('form', { method: 'dialog' }, heading, h('div', { class: 'in' }, inside), h('footer', null, buttons));
  const dialog = h('dialog', { 'aria-labelledby': id }, form);
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, form };
}

/**
 * Shows what would happen and does it when told to. `act()` does it: what it throws is shown, and the dialog stays. Gives whether it
 * was done.
 */
export function confirm({ title, body, action, act }) {
  return new Promise((resolve) => {
    let done = false;
    const error = h('p', { class: 'fault', role: 'alert' });
    const go = h('button', { class: 'main', type: 'submit' }, action);
    const back = h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
    const { dialog, form } = open(title, [body, error], [back, go]);
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      go.disabled = true;
      error.textContent = '';
      try {
        await act();
        done = true;
        dialog.close();
      } catch (refused) {
        error.textContent = refused.message;
        go.disabled = false;
      }
    });
    dialog.addEventListener('close', () => resolve(done));
    back.focus();
  });
}

/** Asks for a token; null where none is given. */
export function askToken(reason) {
  return new Promise((resolve) => {
    let token = null;
    const input = h('input', { id: 'token', type: 'password', autocomplete: 'off', required: true, 'aria-describedby': 'token-why' });
    const back = h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
    const { dialog, form } = open('A token is needed', [
      h('p', { id: 'token-why', class: 'note' }, reason),
      h('div', { class: 'fields' }, h('label', { for: 'token' }, 'Token', input)),
      h('p', { class: 'note' }, 'It is kept in this tab until the tab is closed, and nowhere else.'),
    ], [back, h('button', { class: 'main', type: 'submit' }, 'Use this token')]);
    form.addEventListener('submit', () => { token = input.value.trim() || null; });
    dialog.addEventListener('close', () => resolve(token));
    input.focus();
  });
}

let clearing = 0;

/** Says that something was done, to eyes and to screen readers. */
export function say(words) {
  const place = document.getElementById('said');
  place.textContent = words;
  clearTimeout(clearing);
  clearing = setTimeout(() => { place.textContent = ''; }, 6000);
}
