// The policy: looked at, changed, tried out, and then set.

import { Refused, call } from './api.js';
import { confirm, say } from './dialog.js';
import { attribute, h, panel, text } from './dom.js';
import { shown, tryOut } from './preview.js';

const PATH = '/api/v1/policy';
const NUMBERS = [
  ['maxPerHost', 'Topics on one collector, at most', 'Exceeded only while all that are ready are full.'],
  ['minCollectors', 'Collectors, at least', 'For each provider, where providers are apart.'],
  ['maxCollectors', 'Collectors, at most', 'Likewise.'],
];

/** The editor. */
export function policy() {
  const kind = h('select', { name: 'kind', 'aria-describedby': 'e-kind' },
    h('option', { value: 'max-per-host' }, 'any collector reads any topic'), h('option', { value: 'per-provider' }, 'each provider’s topics on its own collectors'));
  const inputs = new Map([['kind', kind]]);
  const errors = new Map();
  const label = (field, title, input, hint) => {
    const error = h('span', { class: 'error', id: `e-${field}` });
    errors.set(field, error);
    return h('label', null, title, input, h('span', null, hint), error);
  };
  const fields = [label('kind', 'Which collector reads what', kind, '')];
  for (const [field, title, hint] of NUMBERS) {
    const input = h('input', { name: field, type: 'text', inputmode: 'numeric', required: true, 'aria-describedby': `e-${field}` });
    inputs.set(field, input);
    fields.push(label(field, title, input, hint));
  }
  const said = h('p', { class: 'fault', role: 'alert' });
  const preview = h('button', { class: 'main', type: 'submit' }, 'Preview');
  const reset = h('button', { type: 'button' }, 'Reset to the flags');
  const again = h('button', { type: 'button', hidden: true }, 'Show the policy in force');
  const form = h('form', { class: 'in', novalidate: true }, h('div', { class: 'fields' }, fields), said, h('div', { class: 'acts-row' }, preview, reset, again));
  let etag = null;
  let edited = false;

  const read = () => Object.fromEntries([...inputs].map(([field, input]) => {
    const value = input.value.trim();
    return [field, field === 'kind' ? value : Number(value)];
  }));

  /** What can't be sent as a number at all; what else is wrong the manager says, in the same words as to everybody. */
  const noNumbers = () => NUMBERS.map(([field]) => field).filter((field) => !/^\d{1,9}$/.test(inputs.get(field).value.trim()));

  function show(view) {
    for (const [field, input] of inputs) input.value = view[field];
    edited = false;
    again.hidden = true;
    fault(null);
  }

  function fault(refused) {
    for (const [field, input] of inputs) {
      const own = refused?.errors?.find((one) => one.field === field || one.field.endsWith(`.${field}`));
      attribute(input, 'aria-invalid', own ? 'true' : null);
      text(errors.get(field), own?.reason ?? '');
    }
    // What is said beside its field is not said twice.
    text(said, !refused ? '' : refused.errors?.length ? 'Nothing was changed.' : refused.message);
    if (refused?.errors?.length) form.querySelector('[aria-invalid]')?.focus();
  }

  async function load() {
    try {
      const answer = await call('GET', PATH);
      etag = answer.etag;
      show(answer.data);
    } catch (refused) {
      fault(refused);
    }
  }

  async function write(method, body) {
    try {
      const answer = await call(method, PATH, body, etag ? { 'if-match': etag } : {});
      etag = answer.etag;
      show(answer.data);
      say('The policy is in force.');
    } catch (refused) {
      if (refused.status === 412) {
        again.hidden = false;
        throw new Error('Somebody else has changed the policy since you looked at it. Close this, look at the policy in force, and decide anew.');
      }
      if (refused.errors?.length) fault(refused);
      throw refused;
    }
  }

  form.addEventListener('input', () => {
    edited = true;
    again.hidden = false;
  });
  again.addEventListener('click', load);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const bad = noNumbers();
    if (bad.length) {
      fault(new Refused(0, '', bad.map((field) => ({ field, reason: 'must be a whole number' }))));
      return;
    }
    const wanted = read();
    preview.disabled = true;
    try {
      const trial = await tryOut({ policy: wanted });
      fault(null);
      const wantedCollectors = Object.entries(trial.wantedCollectors).map(([provider, number]) => `${number}${provider ? ` for ${provider}` : ''}`).join(', ');
      await confirm({
        title: 'Set this policy?', action: 'Set the policy', act: () => write('PUT', wanted),
        body: [shown(trial), h('p', { class: 'note' }, `Collectors that it asks for: ${wantedCollectors || 'none'}.`)],
      });
    } catch (refused) {
      fault(refused);
    }
    preview.disabled = false;
  });
  reset.addEventListener('click', () => confirm({
    title: 'Reset the policy?', action: 'Reset it', act: () => write('DELETE', null),
    body: [h('p', null, 'What the manager’s flags say is in force again.')],
  }));
  load();
  return {
    element: panel('Policy', 'the rule that makes the assignment; nothing is set before you have seen what would move', form),
    /** Somebody may have changed it: looked at again, unless it is being edited here. */
    refresh(inForce) {
      const told = JSON.stringify(inForce);
      if (form.dataset.told && form.dataset.told !== told && !edited) load();
      form.dataset.told = told;
    },
  };
}
