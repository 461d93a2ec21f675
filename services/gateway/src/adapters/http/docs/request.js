// Requests: from what was filled in to what is sent, and to the line of curl that does the same.

// How much of an answer is read, in characters; the rest is left out.
const MAX_TEXT = 2_000_000;

// The request of a method. `value` gives what was filled in for a parameter: a text, a list of them, or '' for nothing.
export function build({ path, verb, operation }, value, body, accept) {
  const parameters = operation.parameters ?? [];
  const place = (parameter) => {
    const text = String(value(parameter));
    // A parameter that may hold slashes keeps them.
    return parameter.schema.pattern === '^.+$' ? text.split('/').map(encodeURIComponent).join('/') : encodeURIComponent(text);
  };
  let target = path;
  const query = new URLSearchParams();
  const headers = { accept };
  for (const parameter of parameters) {
    const given = [value(parameter)].flat().filter((text) => text !== '');
    if (parameter.in === 'path') {
      target = target.replace(`{${parameter.name}}`, () => place(parameter));
    } else if (parameter.in === 'query') {
      for (const text of given) query.append(parameter.name, text);
    } else if (given.length) {
      headers[parameter.name.toLowerCase()] = given[0];
    }
  }
  if (body !== null) headers['content-type'] = 'application/json';
  const search = query.toString();
  return { method: verb.toUpperCase(), url: target + (search && `?${search}`), headers, body };
}

// The line of curl. There is no token in it, and no password in the body that it is given: lines are pasted into chats.
export function curl(request, isSignedIn, isStream) {
  const quote = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const parts = [`curl ${isStream ? '-N ' : ''}-X ${request.method} ${quote(location.origin + request.url)}`];
  if (isSignedIn) parts.push('-H "authorization: Bearer $TOKEN"');
  for (const [name, text] of Object.entries(request.headers)) parts.push(`-H ${quote(`${name}: ${text}`)}`);
  if (request.body !== null) parts.push(`--data-raw ${quote(request.body)}`);
  return parts.join(' \\\n  ');
}

// Sends a request; `signal` ends it. The body is read by the caller.
export function send(request, token, signal) {
  const headers = { ...request.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const body = request.body ?? undefined;
  return fetch(request.url, { method: request.method, headers, body, signal, credentials: 'omit', cache: 'no-store' });
}

// The lines of an answer as they come, without empty ones.
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += value ?? '';
      const whole = rest.split(/\r?\n/);
      rest = done ? '' : whole.pop();
      yield* whole.filter(Boolean);
      if (done) return;
      if (rest.length > MAX_TEXT) throw new Error('a line of the stream is too long to show');
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// The whole text of an answer, and whether it was cut.
export async function text(response) {
  const whole = await response.text();
  return whole.length > MAX_TEXT ? { text: whole.slice(0, MAX_TEXT), isCut: true } : { text: whole, isCut: false };
}
