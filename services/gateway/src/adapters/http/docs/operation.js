// One method: what it does, the form of its request, and what was answered.

import { el, inline, json, prose } from '/docs/dom.js';
import { build, curl, lines, send, text } from '/docs/request.js';
import { example, fields, kind, masked, resolve } from '/docs/schema.js';
import { onChange, token, user } from '/docs/session.js';

// How many lines of a stream are shown; the oldest go.
const MAX_LINES = 500;
const JSON_TYPE = 'application/json';
const LINES_TYPE = 'application/x-ndjson';
const EVENTS_TYPE = 'text/event-stream';

// What is in progress; there is one view at a time.
let running = null;
let update = () => {};
onChange(() => update());

// The view of a method.
export function view(method) {
  running?.abort();
  const { operation } = method;
  const ok = operation.responses['200']?.content ?? {};
  const isStream = LINES_TYPE in ok;
  // A line of a stream has a message, or the error that ended it.
  const answered = ok[JSON_TYPE]?.schema ?? ok[LINES_TYPE]?.schema.anyOf[0].properties.result;
  const isOpen = Boolean(operation.security);
  const form = request(method, isStream);
  return [
    el('header', { className: 'head' },
      el('p', { className: 'hint' }, operation.tags[0]),
      el('h2', {}, name(operation)),
      el('p', { className: 'route' }, verb(method.verb), ' ', el('code', {}, method.path)),
      el('p', { className: 'marks' },
        el('span', { className: 'mark' }, isOpen ? 'no sign-in needed' : `for ${callers(operation)}`),
        isStream && el('span', { className: 'mark' }, 'stream'),
        operation.deprecated && el('span', { className: 'mark' }, 'deprecated'))),
    el('div', { className: 'prose' }, prose(operation.description ?? '')),
    form,
    answered ? el('section', { 'aria-label': 'Fields of the answer' },
      el('details', {}, el('summary', {}, `Fields of the answer: ${kind(answered)}`), fields(answered))) : null,
    el('p', { className: 'hint' }, 'By gRPC: ', el('code', {}, operation['x-grpc-method'])),
  ].filter(Boolean);
}

export function name(operation) {
  return operation['x-grpc-method'].split('/').pop();
}

export function verb(word) {
  return el('span', { className: `verb ${word}` }, word.toUpperCase());
}

function callers(operation) {
  const words = { OWNER: 'owners', STAFF: 'staff', SERVICE: 'services' };
  return (operation['x-callers'] ?? []).map((caller) => words[caller] ?? caller.toLowerCase()).join(', ') || 'nobody';
}

// The form of a request, and where its answer is shown.
function request(method, isStream) {
  const { operation } = method;
  const inputs = new Map();
  const group = (place, title) => {
    const parameters = (operation.parameters ?? []).filter((parameter) => parameter.in === place);
    if (!parameters.length) return null;
    const made = parameters.map((parameter) => input(parameter, inputs));
    const isNeeded = place !== 'header' || parameters.some((parameter) => parameter.required);
    return isNeeded
      ? el('fieldset', {}, el('legend', {}, title), made)
      : el('details', { className: 'group' }, el('summary', {}, title), el('fieldset', { 'aria-label': title }, made));
  };
  const schema = operation.requestBody?.content[JSON_TYPE]?.schema;
  const body = schema ? editor(schema) : null;
  const accept = isStream
    ? el('select', { id: 'accept' }, el('option', { value: LINES_TYPE }, 'JSON lines'),
      el('option', { value: EVENTS_TYPE }, 'server-sent events'))
    : null;
  const line = el('pre', { className: 'curl', tabIndex: 0 });
  const copy = el('button', { type: 'button' }, 'Copy');
  const stop = el('button', { type: 'button', disabled: true, hidden: !isStream }, 'Stop');
  const status = el('p', { className: 'status', role: 'status' });
  const answer = el('div', { className: 'answer' });
  const form = el('form', { className: 'request', noValidate: true },
    group('path', 'Path'), body?.group ?? null, group('query', 'Query'), group('header', 'Headers'),
    accept && el('div', { className: 'parameter' }, el('label', { for: 'accept' }, 'Answered as'), accept),
    el('div', { className: 'row' }, el('button', { type: 'submit', className: 'primary' }, 'Send'), stop),
    el('details', { open: true }, el('summary', {}, 'The same by curl'), line, copy),
    el('section', { 'aria-label': 'Answer' }, status, answer));

  const read = (text = body?.input.value ?? null) =>
    build(method, (parameter) => inputs.get(parameter).read(), text, accept?.value ?? JSON_TYPE);
  update = () => {
    line.textContent = curl(read(body?.shown()), user() !== null, isStream);
  };
  form.addEventListener('input', () => update());
  copy.addEventListener('click', async () => {
    // There is no clipboard on pages that came over plain HTTP from another machine: then it is selected.
    await (navigator.clipboard?.writeText(line.textContent) ?? Promise.reject()).then(
      () => { copy.textContent = 'Copied'; }, () => getSelection().selectAllChildren(line));
  });
  stop.addEventListener('click', () => running?.abort());
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const wrong = [...inputs.values()].map((one) => one.check()).concat(body ? body.check() : null).find(Boolean);
    if (wrong) wrong.focus();
    else call(read(), status, answer, stop);
  });
  update();
  return form;
}

// A parameter with its label; `inputs` gets how it is read and checked.
function input(parameter, inputs) {
  const schema = resolve(parameter.schema);
  const id = `${parameter.in}-${parameter.name}`;
  const isList = schema.type === 'array';
  const choices = schema.enum ?? (schema.type === 'boolean' ? ['true', 'false'] : null);
  const attributes = { id, 'aria-describedby': `${id}-hint`, required: parameter.required };
  const element = choices
    ? el('select', attributes, el('option', { value: '' }, '–'), choices.map((value) => el('option', { value }, value)))
    : isList
      ? el('textarea', { ...attributes, rows: 2, placeholder: 'one a line' })
      : el('input', { ...attributes, type: 'text', autocomplete: 'off', spellcheck: false });
  const read = () => (isList ? element.value.split('\n').map((text) => text.trim()).filter(Boolean) : element.value);
  inputs.set(parameter, {
    read,
    check: () => {
      const isMissing = parameter.required && element.value.trim() === '';
      element.setAttribute('aria-invalid', isMissing);
      return isMissing ? element : null;
    },
  });
  return el('div', { className: 'parameter' },
    el('label', { for: id }, el('code', {}, parameter.name), ' ', el('span', { className: 'kind' }, kind(parameter.schema)),
      parameter.required && el('span', { className: 'mark' }, 'required')),
    element,
    el('div', { className: 'hint', id: `${id}-hint` }, inline(parameter.description ?? '')));
}

// The body as JSON.
function editor(schema) {
  const begin = JSON.stringify(example(schema), null, 2);
  const rows = Math.min(Math.max(begin.split('\n').length + 1, 4), 24);
  const element = el('textarea', { id: 'body', className: 'body', rows, value: begin, spellcheck: false,
    'aria-describedby': 'body-error' });
  const error = el('p', { id: 'body-error', className: 'error', role: 'alert' });
  const check = () => {
    try {
      if (element.value.trim() !== '') JSON.parse(element.value);
      error.textContent = '';
    } catch (problem) {
      error.textContent = `This is no JSON: ${problem.message}`;
    }
    const isWrong = error.textContent !== '';
    element.setAttribute('aria-invalid', isWrong);
    return isWrong ? element : null;
  };
  element.addEventListener('input', check);
  const reset = el('button', { type: 'button' }, 'Begin anew');
  reset.addEventListener('click', () => {
    element.value = JSON.stringify(example(schema), null, 2);
    check();
    update();
  });
  const group = el('fieldset', {}, el('legend', {}, 'Body'),
    el('label', { for: 'body' }, 'JSON ', el('span', { className: 'kind' }, kind(schema))), element, error,
    el('div', { className: 'row' }, reset),
    el('details', {}, el('summary', {}, 'Fields of the body'), fields(schema)));
  // As the line of curl has it. What is no JSON may hold anything.
  const shown = () => {
    if (element.value.trim() === '') return '';
    try {
      const value = JSON.parse(element.value);
      const safe = masked(value, schema);
      return JSON.stringify(safe) === JSON.stringify(value) ? element.value : JSON.stringify(safe, null, 2);
    } catch {
      return '…';
    }
  };
  return { group, input: element, check, shown };
}

// Sends a request and shows what comes.
async function call(built, status, answer, stop) {
  running?.abort();
  const abort = new AbortController();
  running = abort;
  stop.disabled = false;
  status.className = 'status';
  status.textContent = 'Waiting …';
  answer.replaceChildren();
  const start = performance.now();
  try {
    const response = await send(built, await token(), abort.signal);
    status.className = `status ${response.ok ? 'good' : 'bad'}`;
    const tell = (more) => {
      const took = Math.round(performance.now() - start);
      status.textContent = `${response.status} ${response.statusText}`.trim() + ` · ${took} ms${more}`;
    };
    tell('');
    const headers = [...response.headers].map(([key, value]) => `${key}: ${value}`).join('\n');
    answer.replaceChildren(el('details', {}, el('summary', {}, 'Headers'), el('pre', { tabIndex: 0 }, headers)));
    const type = response.headers.get('content-type') ?? '';
    if (type.startsWith(LINES_TYPE) || type.startsWith(EVENTS_TYPE)) {
      await show(response, answer, tell);
    } else {
      const { text: whole, isCut } = await text(response);
      tell(isCut ? ' · cut' : '');
      answer.append(whole ? readable(whole) : el('p', { className: 'hint' }, 'No body.'));
    }
  } catch (error) {
    // Another request may have taken its place.
    if (running !== abort) return;
    if (abort.signal.aborted) {
      status.textContent = `${status.textContent} · stopped`;
    } else {
      if (!answer.childElementCount) status.textContent = '';
      answer.append(el('p', { className: 'error', role: 'alert' }, `There is no answer: ${error.message}`));
    }
  } finally {
    if (running === abort) {
      running = null;
      stop.disabled = true;
    }
  }
}

// Shows a stream line by line.
async function show(response, answer, tell) {
  const list = el('ol', { className: 'lines' });
  answer.append(list);
  let count = 0;
  for await (const line of lines(response)) {
    count += 1;
    list.append(el('li', { value: count }, readable(line)));
    if (list.childElementCount > MAX_LINES) list.firstElementChild.remove();
    tell(` · ${count} line${count === 1 ? '' : 's'}`);
  }
  answer.append(el('p', { className: 'hint' }, 'The stream has ended.'));
}

function readable(whole) {
  try {
    return json(JSON.parse(whole));
  } catch {
    return el('pre', { tabIndex: 0 }, whole);
  }
}
