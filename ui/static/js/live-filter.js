// The filter language of app/views/query.py, for lists that the browser holds whole. A test holds both to one table of cases.

export class QueryError extends Error {}

const TERM = /([A-Za-z][A-Za-z0-9_./-]*?)(!=|=|:|>|<)("[^"]*"|\S*)/y;
const WORD = /"([^"]*)"|(\S+)/y;
const LONGEST = 500;
const MOST_TERMS = 20;
const AMOUNT = /^([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)$/;
const SPANS = { "": 1, s: 1, m: 60, h: 3600, d: 86400, w: 604800 };
const SIZES = { "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 };

const fold = (value) => (value === null || value === undefined ? "" : String(value).toLowerCase());

function amount(column, text, position) {
  const found = AMOUNT.exec(text);
  const units = { time: SPANS, bytes: SIZES, millicores: { m: 1, "": 1000 } }[column.type] ?? { "": 1 };
  if (!found || !(found[2] in units)) {
    const example = { time: "5m", bytes: "200Mi", millicores: "250m" }[column.type] ?? "10";
    throw new QueryError(`"${text.slice(0, 50)}" (position ${position + 1}) is no amount for ${column.title}. Write e.g. ${example}.`);
  }
  return +found[1] * units[found[2]];
}

function keyed(columns, place, operator, value, position, fixed) {
  const at = fixed + place;
  if (operator === ">" || operator === "<") {
    const bound = amount(columns[place], value, position);
    const time = columns[place].type === "time";
    return (row) => {
      if (row[at] === null || row[at] === undefined || row[at] === "") return false;
      const found = time ? Date.now() / 1000 - row[at] : parseFloat(row[at]) || 0;
      return operator === ">" ? found > bound : found < bound;
    };
  }
  const wanted = value.toLowerCase();
  if (operator === "=") return (row) => fold(row[at]) === wanted;
  if (operator === "!=") return (row) => fold(row[at]) !== wanted;
  return (row) => fold(row[at]).includes(wanted);
}

function label(value) {
  const [name, ...rest] = value.toLowerCase().split("=");
  const wanted = rest.length && rest.join("=") ? `,${name}=${rest.join("=")},` : `,${name}=`;
  return (row) => `,${fold(row[3])},`.includes(wanted);
}

const word = (text, fixed) => {
  const wanted = text.toLowerCase();
  return (row) => {
    for (let n = fixed; n < row.length; n++) if (typeof row[n] === "string" && row[n].toLowerCase().includes(wanted)) return true;
    return false;
  };
};

// A test of rows (arrays whose values begin at `fixed`, labels at 3) for the text of a filter. Throws QueryError.
export function matcher(text, columns, fixed) {
  const places = new Map(columns.map((column, n) => [column.key, n]));
  const names = [...places.keys()].join(", ");
  const tests = [];
  let at = 0;
  if (text.length > LONGEST) throw new QueryError(`The filter is longer than ${LONGEST} characters.`);
  const take = (test) => {
    tests.push(test);
    if (tests.length > MOST_TERMS) throw new QueryError(`The filter has more than ${MOST_TERMS} terms.`);
  };
  while (at < text.length) {
    if (/\s/.test(text[at])) { at++; continue; }
    TERM.lastIndex = at;
    const term = TERM.exec(text);
    if (term) {
      const [whole, name, operator] = term;
      const key = name.toLowerCase();
      const raw = term[3];
      if (raw.startsWith('"') && !(raw.length > 1 && raw.endsWith('"'))) throw new QueryError(`The quote at position ${at + name.length + operator.length + 1} is not closed.`);
      const value = raw.replace(/^"+|"+$/g, "");
      if (key === "label") {
        if (operator !== ":") throw new QueryError(`Write label:app=web (position ${at + 1}).`);
        take(label(value));
        at += whole.length;
        continue;
      }
      if (places.has(key)) {
        take(keyed(columns, places.get(key), operator, value, at, fixed));
        at += whole.length;
        continue;
      }
      if (operator !== ":") throw new QueryError(`There is no column "${key.slice(0, 50)}" (position ${at + 1}). There are: ${names}, label.`);
    }
    WORD.lastIndex = at;
    const found = WORD.exec(text);
    take(word(found[1] ?? found[2].replace(/^"+|"+$/g, ""), fixed));
    at += found[0].length;
  }
  return (row) => tests.every((test) => test(row));
}
