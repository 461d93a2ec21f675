// Who is signed in. The tokens are in this module's memory and nowhere else.

// How long before its end an access token is renewed, in milliseconds.
const MARGIN = 30_000;

let session = null;
let refreshing = null;
const listeners = [];

async function post(verb, body) {
  const answer = await fetch(`/v1/sessions:${verb}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify(body),
    credentials: 'omit',
    cache: 'no-store',
  });
  const read = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const error = new Error(read.error?.message ?? `the server answered ${answer.status}`);
    error.isRefusal = answer.status === 401 || answer.status === 400;
    throw error;
  }
  return read;
}

function become(next) {
  session = next;
  for (const listener of listeners) listener(user());
}

// Calls `listener` with the account's name, or `null`, whenever that may have changed.
export function onChange(listener) {
  listeners.push(listener);
}

// The account that is signed in, such as `users/anna`; `null` for none.
export function user() {
  return session?.user ?? null;
}

export async function signIn(email, password) {
  become(await post('signIn', { email, password }));
}

// Calls by an API key from now on. Nobody is asked about it: each call shows whether it is accepted.
export function useKey(key) {
  become({ user: 'the owner of an API key', key });
}

// Forgets the tokens at once, and ends the session if the server can be reached.
export async function signOut() {
  const refreshToken = session?.refreshToken;
  become(null);
  if (refreshToken) await post('signOut', { refreshToken }).catch(() => {});
}

// An access token that is valid for a while, or the API key; `null` when nobody is signed in. A refresh token is used up by its use, so
// that calls at the same time wait for the same new one.
export async function token() {
  if (!session) return null;
  if (session.key) return session.key;
  if (Date.parse(session.accessTokenExpireTime) - Date.now() > MARGIN) return session.accessToken;
  refreshing ??= refresh().finally(() => {
    refreshing = null;
  });
  await refreshing;
  return session?.accessToken ?? null;
}

async function refresh() {
  const before = session;
  try {
    const next = await post('refresh', { refreshToken: before.refreshToken });
    if (session === before) become(next);
  } catch (error) {
    // The session is over; anything else may be better a moment later.
    if (error.isRefusal && session === before) become(null);
    throw new Error(`The session could not be refreshed: ${error.message}`);
  }
}
