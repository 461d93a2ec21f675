// Elements, made without markup: what comes from elsewhere is only ever text.

// An element with properties and children. Strings become text; `null` and `false` are left out. Properties with a dash are
// attributes.
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.includes('-') || name === 'for' || name === 'role') {
      element.setAttribute(name, value);
    } else {
      element[name] = value;
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Text with `code` between backticks.
export function inline(text) {
  return text.split('`').map((part, at) => (at % 2 === 1 ? el('code', {}, part) : part));
}

// A description in paragraphs; lines that begin with a dash are a list.
export function prose(text) {
  return text.split(/\n\n+/).filter(Boolean).flatMap((paragraph) => {
    const lines = paragraph.split('\n');
    const items = lines.filter((line) => line.startsWith('- '));
    const rest = lines.filter((line) => !line.startsWith('- ')).join(' ');
    return [
      rest ? el('p', {}, inline(rest)) : null,
      items.length ? el('ul', {}, items.map((item) => el('li', {}, inline(item.slice(2))))) : null,
    ].filter(Boolean);
  });
}

// JSON with its strings, numbers and words marked.
export function json(value) {
  const text = JSON.stringify(value, null, 2) ?? '';
  const tokens = /("(?:\\.|[^"\\])*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/g;
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(tokens)) {
    parts.push(text.slice(end, match.index));
    const [whole, string, colon] = match;
    const kind = colon ? 'key' : string ? 'string' : 'word';
    parts.push(el('span', { className: kind }, string ?? whole), colon ?? '');
    end = match.index + whole.length;
  }
  parts.push(text.slice(end));
  return el('pre', { className: 'json', tabIndex: 0 }, parts);
}
