// Asks the manager. A token is asked for once, when the manager wants one, and kept for this tab's session only.

import { askToken } from './dialog.js';

const PLACE = 'plimsoll-token';

/** What the manager refused, or that it did not answer (`status` 0). */
export class Refused extends Error {
  constructor(status, detail, errors = []) {
    super(detail);
    this.status = status;
    this.errors = errors;
  }
}

/** Headers that say who asks. */
export function identity() {
  const token = sessionStorage.getItem(PLACE);
  return token ? { authorization: `Bearer ${token}` } : {};
}

let asking = null;

/** Asks for a token; false where the person does not give one. Of many that ask at once, one dialog is shown. */
export async function identify(reason) {
  asking ??= askToken(reason).finally(() => { asking = null; });
  const token = await asking;
  if (token) sessionStorage.setItem(PLACE, token);
  return Boolean(token);
}

async function send(method, path, body, headers) {
  const told = { ...identity(), ...headers };
  if (method !== 'GET') told['content-type'] = 'application/json';
  try {
    return await fetch(path, { method, headers: told, body: body && JSON.stringify(body), cache: 'no-store' });
  } catch {
    throw new Refused(0, 'The manager does not answer. Nothing is known of what it did with this.');
  }
}

/** What a problem says; its form is RFC 9457's. */
export async function problem(response) {
  const told = await response.json().catch(() => ({}));
  return new Refused(response.status, told.detail ?? `the manager answered ${response.status}`, told.errors ?? []);
}

/** One call: `{data, etag}`. Throws `Refused`. */
export async function call(method, path, body, headers = {}) {
  for (;;) {
    const shown = sessionStorage.getItem(PLACE);
    const response = await send(method, path, body, headers);
    if (response.ok) {
      const data = response.status === 204 ? null : await response.json();
      return { data, etag: response.headers.get('etag') };
    }
    const refused = await problem(response);
    if (response.status !== 401) throw refused;
    if (shown === sessionStorage.getItem(PLACE)) sessionStorage.removeItem(PLACE);
    const reason = shown ? `The token was not taken: ${refused.message}` : refused.message;
    if (!await identify(reason)) throw refused;
  }
}

/** Looks. */
export const get = async (path) => (await call('GET', path)).data;
