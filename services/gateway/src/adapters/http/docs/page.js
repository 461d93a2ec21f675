// The page: the list of methods with its search, who is signed in, and the method that the address names.

import { el, inline } from '/docs/dom.js';
import { name, verb, view } from '/docs/operation.js';
import { use } from '/docs/schema.js';
import { onChange, signIn, signOut, useKey } from '/docs/session.js';

const VERBS = ['get', 'post', 'put', 'patch', 'delete', 'head', 'options', 'trace'];
const byId = (id) => document.getElementById(id);
const main = byId('main');

// The methods of the document: those of each service together, in the order of the document.
function methodsOf(api) {
  const methods = Object.entries(api.paths).flatMap(([path, item]) =>
    VERBS.filter((word) => word in item).map((word) => ({ path, verb: word, operation: item[word] })));
  const services = api.tags.map((tag) => (
    { tag, methods: methods.filter(({ operation }) => operation.tags.includes(tag.name)) }));
  // What is for staff alone comes last.
  const isForStaff = (service) => Number(service.methods.every(
    ({ operation }) => (operation['x-callers'] ?? []).every((caller) => caller === 'STAFF' || caller === 'SERVICE')));
  return services.sort((one, other) => isForStaff(one) - isForStaff(other));
}

function list(services) {
  const words = byId('search').value.toLowerCase().split(/\s+/).filter(Boolean);
  const current = location.hash.slice(1);
  let count = 0;
  const shown = services.map(({ tag, methods }) => {
    const found = methods.filter(({ path, verb: word, operation }) => {
      const text = `${tag.name} ${name(operation)} ${word} ${path} ${operation.summary}`.toLowerCase();
      return words.every((one) => text.includes(one));
    });
    count += found.length;
    if (!found.length) return null;
    return el('section', {},
      el('h2', { title: tag.description ?? '' }, tag.name.split('.').pop(), ' ',
        el('span', { className: 'hint' }, tag.name.split('.').slice(0, -1).join('.'))),
      el('ul', {}, found.map(({ verb: word, operation, path }) => el('li', {},
        el('a', {
          href: `#${operation.operationId}`,
          title: `${word.toUpperCase()} ${path}`,
          'aria-current': operation.operationId === current ? 'page' : null,
        }, verb(word), ' ', name(operation))))));
  });
  byId('methods').replaceChildren(...shown.filter(Boolean));
  byId('found').textContent = words.length ? `${count} found` : '';
}

function welcome(api, services) {
  return [
    el('h2', {}, 'Every method, over HTTP and JSON'),
    el('p', {}, api.info.description),
    el('p', {}, 'Choose a method, fill in its form and send it: the request goes to this server, as shown by the line of curl ',
      'below the form. Most methods need somebody who is signed in.'),
    ...services.map(({ tag }) => el('p', {}, el('strong', {}, tag.name.split('.').pop()), ': ',
      inline((tag.description ?? '').split('\n')[0].split('. ')[0].replace(/\.?$/, '.')))),
  ];
}

function show(api, services, isMoved) {
  const id = location.hash.slice(1);
  // The link for keyboards that leads past the list.
  if (id === 'main' && isMoved) return;
  const method = services.flatMap(({ methods }) => methods).find(({ operation }) => operation.operationId === id);
  main.replaceChildren(...(method ? view(method) : welcome(api, services)));
  document.title = method ? `${name(method.operation)} · ${api.info.title}` : `${api.info.title}: API`;
  list(services);
  if (isMoved && method) {
    main.focus({ preventScroll: true });
    main.scrollIntoView();
  }
}

function session() {
  const dialog = byId('sign-in-dialog');
  const error = byId('sign-in-error');
  byId('sign-in').addEventListener('click', () => dialog.showModal());
  byId('sign-in-cancel').addEventListener('click', () => dialog.close());
  byId('sign-out').addEventListener('click', () => signOut());
  byId('sign-in-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    error.textContent = '';
    try {
      await signIn(byId('email').value, byId('password').value);
      dialog.close();
    } catch (problem) {
      error.textContent = `That didn't work: ${problem.message}`;
    } finally {
      byId('password').value = '';
    }
  });
  byId('key-form').addEventListener('submit', (event) => {
    event.preventDefault();
    useKey(byId('key').value.trim());
    byId('key').value = '';
    dialog.close();
  });
  onChange((user) => {
    byId('who').textContent = user ? `Signed in as ${user}` : '';
    byId('sign-in').hidden = user !== null;
    byId('sign-out').hidden = user === null;
  });
}

async function start() {
  session();
  try {
    const answer = await fetch('/openapi.json', { credentials: 'omit' });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const api = await answer.json();
    use(api);
    byId('key-form').hidden = !api.components.securitySchemes.apiKey;
    const services = methodsOf(api);
    byId('version').textContent = api.info.version;
    byId('search').addEventListener('input', () => list(services));
    addEventListener('hashchange', () => show(api, services, true));
    show(api, services, false);
  } catch (error) {
    main.replaceChildren(el('p', { className: 'error', role: 'alert' }, `The description can't be read: ${error.message}`));
  }
}

start();
