// Schemas of the document: what they look like, and examples of them.

import { el, inline, prose } from '/docs/dom.js';

// How deep examples go.
const MAX_DEPTH = 6;

// What examples have for fields of these names.
const SAMPLES = {
  currencyCode: 'EUR',
  displayName: 'Example',
  email: 'anna@example.com',
  currentPassword: 'correct horse',
  password: 'correct horse',
  units: '12',
};

let components = {};

// The document's components, which references point to.
export function use(document) {
  components = document.components.schemas;
}

// The schema that is meant, and the name of its component if it has one. Of several spellings of a value, the first is meant.
export function resolve(schema) {
  if (schema.anyOf) return resolve({ ...schema.anyOf[0], ...schema, anyOf: undefined });
  if (Array.isArray(schema.type)) return resolve({ ...schema, type: schema.type[0] });
  const name = schema.$ref?.split('/').pop();
  return name ? { ...components[name], ...schema, $ref: undefined, name } : schema;
}

function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

// A body to begin with: what has to be given has a sample, the rest its default, which says the same as nothing.
export function example(schema, name = '', isNeeded = true, depth = 0) {
  const known = resolve(schema);
  if (known.enum) return isNeeded ? (known.enum.find((value) => !value.endsWith('_UNSPECIFIED')) ?? null) : known.enum[0];
  switch (known.type) {
    case 'object': {
      const members = Object.entries(known.properties ?? {}).filter(([, member]) => isWritten(member));
      const needed = known.required ?? [];
      const isMoney = known.name?.startsWith('google.type.Money') ?? false;
      const isChange = known.name?.endsWith('-patch') ?? false;
      const values = members.flatMap(([key, member]) => {
        // What is not in a change stays as it is: it begins with what can be changed at any time.
        const behavior = member['x-field-behavior'] ?? [];
        if (isChange && (member.writeOnly || key === 'etag' || behavior.includes('IMMUTABLE'))) return [];
        const must = isChange || needed.includes(key) || member.writeOnly || isMoney;
        const isBig = ['object', 'array'].includes(resolve(member).type) || resolve(member).format === 'date-time';
        // What is optional and large, or would be no default, is left to whoever needs it.
        if (depth >= MAX_DEPTH || (!must && (isBig || isRule(member)))) return [];
        return [[key, example(member, key, must, depth + 1)]];
      });
      return Object.fromEntries(values);
    }
    case 'array':
      return isNeeded && depth < MAX_DEPTH ? [example(known.items, name, true, depth + 1)] : [];
    case 'boolean':
      return false;
    case 'integer':
    case 'number':
      return isNeeded && name !== 'nanos' ? 1 : 0;
    case 'string':
      if (known.format === 'uuid') return uuid();
      if (known.format === 'date-time') return new Date().toISOString();
      if (isNeeded && name in SAMPLES) return SAMPLES[name];
      if (known.format === 'int64' || known.format === 'uint64') return isNeeded ? '1' : '0';
      return '';
    default:
      return null;
  }
}

// A body without its passwords and tokens.
export function masked(value, schema) {
  const known = resolve(schema);
  if (Array.isArray(value)) return value.map((one) => masked(one, known.items ?? {}));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => {
    const member = known.properties?.[key] ?? {};
    const isSecret = member.writeOnly || /(password|refresh_?token)$/i.test(key);
    return [key, isSecret && typeof one === 'string' && one ? 'SECRET' : masked(one, member)];
  }));
}

function isWritten(member) {
  return !member.readOnly && !(member['x-field-behavior'] ?? []).includes('IDENTIFIER');
}

// Texts with a form of their own, of which an empty one is none.
function isRule(member) {
  const { type, pattern, format } = resolve(member);
  return type === 'string' && Boolean(pattern) && format === undefined;
}

// What a schema is, in a word or two.
export function kind(schema) {
  const known = resolve(schema);
  if (known.type === 'array') return `list of ${kind(known.items)}`;
  if (known.name) return known.name.split('.').pop().replace(/-(patch|request)$/, '');
  if (known.type === 'object' && known.additionalProperties) return `map of ${kind(known.additionalProperties)}`;
  return [known.type ?? 'any', known.format ?? known.contentEncoding].filter(Boolean).join(', ');
}

// The fields of a schema; those of messages in it are made when they are opened.
export function fields(schema) {
  const known = resolve(schema);
  if (known.type === 'array') return fields(known.items);
  if (known.enum) {
    // What the values mean is said with the type, not with the field.
    const meaning = components[known.name]?.description ?? known.enum.join(', ');
    return el('div', { className: 'prose hint' }, prose(meaning));
  }
  const entries = Object.entries(known.properties ?? {});
  if (!entries.length) return el('p', { className: 'hint' }, 'No fields.');
  return el('ul', { className: 'fields' }, entries.map(([name, member]) => field(name, member, known.required ?? [])));
}

function field(name, member, required) {
  const marks = [
    required.includes(name) && 'required',
    member.readOnly && 'set by the server',
    member.writeOnly && 'never answered',
    (member['x-field-behavior'] ?? []).includes('IMMUTABLE') && 'never changed',
    (member['x-field-behavior'] ?? []).includes('IDENTIFIER') && 'the resource\'s name',
  ].filter(Boolean);
  return el(
    'li',
    {},
    el('div', { className: 'field' }, el('code', {}, name), ' ', el('span', { className: 'kind' }, kind(member)),
      marks.map((mark) => el('span', { className: 'mark' }, mark))),
    el('div', { className: 'hint' }, inline(member.description ?? '')),
    nested(member),
  );
}

function nested(member) {
  let inner = resolve(member);
  while (inner.type === 'array') inner = resolve(inner.items);
  if (!inner.enum && !Object.keys(inner.properties ?? {}).length) return null;
  const details = el('details', {}, el('summary', {}, inner.name ? kind(inner) : 'Fields'));
  details.addEventListener('toggle', () => details.append(fields(inner)), { once: true });
  return details;
}
