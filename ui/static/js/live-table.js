// <live-table kind="pods" cluster="" ns="" q="" sort="-restarts" cols="name,status" label="Pods">
//
// A live list of one kind over any number of clusters, fed by frames over the shared live socket (ui.md, section 7).
// kind: the resource key. cluster: a cluster's id, empty is all. ns: a namespace, empty is all. q: the filter. sort: a
// column's key, with "-" for descending. cols: keys of the columns to show, empty is the usual ones.
// The page's form (inputs named cluster, ns and q) drives it; the state is written back to the address. Emits
// "row-open" (detail {href}) before it follows a row's link. Text only ever goes in as textContent.
import { LiveSocket } from "./live-socket.js";
import { matcher, QueryError } from "./live-filter.js";

const OVERSCAN = 12;
const WINDOW = 120; // rows asked for around those in view, of a list too long to be sent whole
const LEVELS = ["unknown", "ok", "progress", "warning", "error"];
// Least width in pixels and share of what is left, by type of column.
const WIDTHS = { name: [220, 2], status: [150, 1], text: [110, 1], number: [92, 0.4], time: [104, 0.4], ratio: [74, 0.2], bytes: [132, 0.4], millicores: [116, 0.4] };
const HOSTILE = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
const FIXED = 5; // id, cluster id, level, labels, owner come before the values

const shown = (text) => text.replace(HOSTILE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
const node = (name, cls, text) => {
  const made = document.createElement(name);
  if (cls) made.className = cls;
  if (text !== undefined) made.textContent = text;
  return made;
};
function age(seconds) {
  const s = Math.max(0, Math.floor(Date.now() / 1000 - seconds));
  if (s < 120) return `${s}s`;
  const m = Math.floor(s / 60);
  if (m < 120) return `${m}m`;
  const h = Math.floor(m / 60);
  return h < 48 ? `${h}h` : `${Math.floor(h / 24)}d`;
}
function bytes(value) {
  for (const [unit, size] of [["Ti", 2 ** 40], ["Gi", 2 ** 30], ["Mi", 2 ** 20], ["Ki", 1024]]) {
    if (value >= size) return `${+(value / size).toPrecision(3)} ${unit}`;
  }
  return String(value);
}
function format(column, value) {
  if (value === null || value === undefined || value === "") return "–";
  if (column.type === "time") return age(value);
  if (column.type === "bytes") return bytes(value);
  if (column.type === "millicores") return value >= 1000 ? `${+(value / 1000).toFixed(2)}` : `${value}m`;
  return typeof value === "string" ? shown(value) : String(value);
}
function compare(a, b) {
  const empty = (v) => v === null || v === undefined || v === "";
  if (empty(a)) return empty(b) ? 0 : 2; // unknown last, whichever way
  if (empty(b)) return -2;
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
  return a - b;
}

class LiveTable extends HTMLElement {
  connectedCallback() {
    if (this.body) return;
    this.rows = new Map(); // id to the row's array
    this.order = []; // ids in the order of the list; of a window, from `from` on
    this.columns = [];
    this.clusters = {};
    this.mode = "whole";
    this.total = 0;
    this.from = 0;
    this.loaded = false;
    this.error = "";
    this.focused = 0;
    this.selected = new Set();
    this.frozen = false;
    this.held = 0;
    this.seq = 0;
    this.epoch = "";
    this.sortKey = (this.getAttribute("sort") || "name").replace(/^-/, "");
    this.descending = (this.getAttribute("sort") || "").startsWith("-");
    this.chosen = (this.getAttribute("cols") || "").split(",").filter(Boolean);
    this.build();
    this.form();
    this.live = LiveSocket.open({ frame: (frame) => this.frame(frame), again: () => this.subscribe() });
    this.ages = setInterval(() => this.schedule(), 1000);
    addEventListener("resize", (this.resized = () => this.schedule()));
    document.addEventListener("live-state", (this.stated = (event) => this.state(event.detail)));
  }

  disconnectedCallback() {
    clearInterval(this.ages);
    removeEventListener("resize", this.resized);
    document.removeEventListener("live-state", this.stated);
    this.live?.close();
  }

  get kind() { return this.getAttribute("kind"); }
  get query() { return this.inputs.q?.value ?? this.getAttribute("q") ?? ""; }
  get rowHeight() { return parseFloat(getComputedStyle(this).getPropertyValue("--kn-row")) || 28; }

  // -- pieces ---------------------------------------------------------------------------------------------------------

  build() {
    this.classList.add("live-table");
    const bar = node("div", "lt-bar");
    this.badge = node("span", "lt-badge lt-loading", "loading");
    this.count = node("span", "lt-count");
    this.count.setAttribute("role", "status");
    this.held_ = node("button", "lt-held");
    this.held_.type = "button";
    this.held_.hidden = true;
    this.held_.addEventListener("click", () => this.thaw());
    const spacer = node("span", "lt-spacer");
    this.chooser = this.columnChooser();
    bar.append(this.badge, this.count, this.held_, spacer, this.chooser);
    this.note = node("div", "lt-notes");
    this.grid = node("div", "lt-grid");
    this.grid.setAttribute("role", "grid");
    this.grid.setAttribute("aria-label", this.getAttribute("label") || this.kind);
    this.grid.tabIndex = 0;
    this.head = node("div", "lt-head");
    this.head.setAttribute("role", "row");
    this.head.setAttribute("aria-rowindex", "1");
    const rowgroup = node("div", "lt-headgroup");
    rowgroup.setAttribute("role", "rowgroup");
    rowgroup.append(this.head);
    this.body = node("div", "lt-body");
    this.body.setAttribute("role", "rowgroup");
    this.empty = node("div", "lt-empty", "Loading …");
    this.grid.append(rowgroup, this.body);
    this.append(bar, this.note, this.grid, this.empty);
    this.pool = [];
    this.grid.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.grid.addEventListener("pointerenter", () => { this.frozen = true; });
    this.grid.addEventListener("pointerleave", () => this.thaw());
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest(".lt-row");
      if (!row) return;
      this.focus_(+row.dataset.at);
      if (!event.target.closest("a")) this.select(+row.dataset.at);
    });
    this.body.addEventListener("dblclick", (event) => {
      const row = event.target.closest(".lt-row");
      if (row) this.openRow(+row.dataset.at);
    });
  }

  columnChooser() {
    const found = node("details", "lt-columns");
    found.append(node("summary", "button", "Columns"));
    this.choices = node("div", "lt-choices");
    found.append(this.choices);
    document.addEventListener("click", (event) => { if (!found.contains(event.target)) found.open = false; });
    found.addEventListener("keydown", (event) => { if (event.key === "Escape") found.open = false; });
    return found;
  }

  form() {
    const form = document.querySelector("form.filters");
    this.inputs = { q: form?.elements.q, ns: form?.elements.ns, cluster: form?.elements.cluster };
    form?.addEventListener("submit", (event) => event.preventDefault());
    let timer = 0;
    this.inputs.q?.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.filtered(), this.mode === "whole" ? 0 : 150);
    });
    this.inputs.q?.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") { event.preventDefault(); this.grid.focus(); }
      if (event.key === "Escape") { this.inputs.q.value = ""; this.filtered(); this.grid.focus(); }
    });
    for (const name of ["ns", "cluster"]) {
      this.inputs[name]?.addEventListener("change", (event) => {
        event.stopPropagation();
        this.setAttribute(name, this.inputs[name].value.trim());
        this.restart();
      });
    }
  }

  // -- the wire -------------------------------------------------------------------------------------------------------

  subscribe() {
    const list = (name) => (this.getAttribute(name) || "").split(",").map((s) => s.trim()).filter(Boolean);
    const windowed = this.mode === "window";
    const [from, to] = this.wantedWindow();
    this.asked = [from, to];
    this.live.send({
      op: "sub", kind: this.kind, clusters: list("cluster"), namespaces: list("ns"), from, to,
      ...(windowed ? { sort: (this.descending ? "-" : "") + this.sortKey, filter: this.query } : {}),
      ...(this.epoch && !windowed ? { have: `${this.epoch}-${this.seq}` } : {}),
    });
  }

  restart() {
    this.loaded = false;
    this.epoch = "";
    this.rows.clear();
    this.order = [];
    this.mode = "whole";
    this.remember();
    this.subscribe();
    this.schedule();
  }

  frame(frame) {
    if (frame.reset) return this.reset(frame);
    const scope = frame.full ? this.begin(frame) : false;
    if (frame.e) { this.epoch = frame.e; this.seq = frame.seq; }
    for (const row of frame.a ?? []) this.put(row);
    for (const [id, level, cells] of frame.u ?? []) {
      const row = this.rows.get(id);
      if (!row) continue;
      row[2] = level;
      for (const place in cells) row[FIXED + +place] = cells[place];
      row.touched = performance.now();
    }
    for (const id of frame.x ?? []) { this.rows.delete(id); this.selected.delete(id); }
    if (frame.t) this.newest = frame.t;
    if (frame.clusters) { this.clusters = frame.clusters; this.notes(); }
    if (this.mode === "window") {
      if (frame.n !== undefined) this.total = frame.n;
      if (frame.from !== undefined) this.from = frame.from;
      if (frame.o) this.order = frame.o;
    } else if (scope || frame.a || frame.x || (frame.u && this.moves(frame.u))) this.dirty = true;
    if (frame.full) this.loaded = true;
    this.live.send({ op: "ack", seq: frame.seq });
    this.schedule();
  }

  // Whether changed cells can change what is shown or its order: sorting thousands of rows twenty times a second for
  // changes that cannot is most of a busy main thread.
  moves(changed) {
    if (this.query) return true;
    const places = [0, 1, 2, this.place(this.sortKey)];
    return changed.some(([, , cells]) => places.some((place) => place in cells));
  }

  begin(frame) {
    const was = this.mode;
    this.mode = frame.mode;
    this.rows.clear();
    this.columns = frame.cols;
    this.error = "";
    this.heads();
    if (was === "whole" && this.mode === "window") {
      this.total = frame.n;
      if (this.query || this.sortKey !== "name" || this.descending) this.subscribe();
    }
    return true;
  }

  put(row) {
    const known = this.rows.get(row[0]);
    row.touched = known || this.loaded ? performance.now() : 0;
    this.rows.set(row[0], row);
  }

  reset(frame) {
    if (frame.reset === "invalid") this.error = frame.msg;
    else if (frame.reset === "forbidden") { this.error = frame.msg; this.rows.clear(); this.order = []; }
    this.schedule();
  }

  state({ state, since }) {
    this.connection = state;
    this.lostAt = since;
    this.notes();
  }

  // -- order ----------------------------------------------------------------------------------------------------------

  place(key) { return this.columns.findIndex((column) => column.key === key); }

  arrange() {
    this.dirty = false;
    if (this.mode !== "whole") return;
    let test = () => true;
    try {
      test = matcher(this.query, this.columns, FIXED);
      this.error = "";
    } catch (error) {
      if (!(error instanceof QueryError)) throw error;
      this.error = error.message;
    }
    const place = this.place(this.sortKey) < 0 ? 2 : this.place(this.sortKey);
    const at = FIXED + place;
    const way = this.descending ? -1 : 1;
    const rows = [];
    for (const row of this.rows.values()) if (test(row)) rows.push(row);
    rows.sort((a, b) => {
      const by = compare(a[at], b[at]);
      return (Math.abs(by) === 2 ? by : by * way) || compare(a[FIXED + 2], b[FIXED + 2]) || compare(a[FIXED], b[FIXED]) || compare(a[FIXED + 1], b[FIXED + 1]) || a[0] - b[0];
    });
    const order = rows.map((row) => row[0]);
    if (this.frozen && this.order.length) {
      const present = new Set(order);
      const kept = this.order.filter((id) => present.has(id));
      const known = new Set(kept);
      const moved = order.length !== kept.length || order.some((id, n) => id !== kept[n]);
      this.held = moved ? this.held + 1 : this.held;
      this.order = [...kept, ...order.filter((id) => !known.has(id))];
    } else this.order = order;
    this.total = this.order.length;
    this.from = 0;
  }

  thaw() {
    this.frozen = false;
    if (this.held) { this.held = 0; this.dirty = true; this.schedule(); }
  }

  filtered() {
    this.setAttribute("q", this.query);
    this.grid.scrollTop = 0;
    this.focused = 0;
    this.remember();
    if (this.mode === "whole") this.dirty = true;
    else this.subscribe();
    this.schedule();
  }

  sortBy(key) {
    if (this.sortKey === key) this.descending = !this.descending;
    else { this.sortKey = key; this.descending = false; }
    this.heads();
    this.remember();
    this.frozen = false;
    if (this.mode === "whole") this.dirty = true;
    else this.subscribe();
    this.schedule();
  }

  remember() {
    const url = new URL(location.href);
    const state = {
      q: this.query, ns: this.getAttribute("ns"), cluster: this.getAttribute("cluster"), cols: this.chosen.join(","),
      sort: this.sortKey === "name" && !this.descending ? "" : (this.descending ? "-" : "") + this.sortKey,
    };
    for (const [name, value] of Object.entries(state)) value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
    history.replaceState(null, "", url);
  }

  // -- columns --------------------------------------------------------------------------------------------------------

  visible() {
    if (this.chosen.length) {
      const found = this.chosen.map((key) => this.place(key)).filter((n) => n >= 0);
      if (found.length) return found;
    }
    const own = this.columns.map((column, n) => n).filter((n) => n > 3 && !this.columns[n].wide);
    const single = this.getAttribute("cluster");
    const namespaced = this.kind !== "nodes" && this.kind !== "namespaces";
    return [2, ...(namespaced ? [1] : []), ...(single ? [] : [0]), ...own, 3];
  }

  heads() {
    const places = this.visible();
    this.head.replaceChildren();
    this.grid.setAttribute("aria-colcount", String(places.length));
    places.forEach((place, n) => {
      const column = this.columns[place];
      const cell = node("div", `lt-th lt-${column.type}`);
      cell.setAttribute("role", "columnheader");
      cell.setAttribute("aria-colindex", String(n + 1));
      const sorted = column.key === this.sortKey;
      cell.setAttribute("aria-sort", sorted ? (this.descending ? "descending" : "ascending") : "none");
      const button = node("button", "", shown(column.title));
      button.type = "button";
      if (column.help) button.title = shown(column.help);
      button.append(node("span", "lt-way", sorted ? (this.descending ? "▼" : "▲") : ""));
      button.addEventListener("click", () => this.sortBy(column.key));
      cell.append(button);
      this.head.append(cell);
    });
    const widths = places.map((place) => (place === 2 ? WIDTHS.name : WIDTHS[this.columns[place].type] ?? WIDTHS.text));
    this.grid.style.setProperty("--lt-columns", widths.map(([least, share]) => `minmax(${least}px, ${share}fr)`).join(" "));
    this.grid.style.setProperty("--lt-least", `${widths.reduce((sum, [least]) => sum + least, 0)}px`);
    this.pool.forEach((row) => row.remove());
    this.pool = [];
    this.offer(places);
  }

  offer(places) {
    this.choices.replaceChildren();
    const order = [...places, ...this.columns.map((_, n) => n).filter((n) => !places.includes(n))];
    for (const place of order) {
      const column = this.columns[place];
      const line = node("div", "lt-choice");
      const label = node("label");
      const box = node("input");
      box.type = "checkbox";
      box.checked = places.includes(place);
      box.disabled = column.key === "name";
      box.addEventListener("change", () => this.choose(column.key, box.checked));
      label.append(box, node("span", "", shown(column.title)));
      line.append(label);
      for (const [text, by, title] of [["↑", -1, "earlier"], ["↓", 1, "later"]]) {
        const button = node("button", "lt-move", text);
        button.type = "button";
        button.setAttribute("aria-label", `Show ${column.title} ${title}`);
        button.disabled = !box.checked;
        button.addEventListener("click", () => this.shift(column.key, by));
        line.append(button);
      }
      this.choices.append(line);
    }
  }

  choose(key, on) {
    const keys = this.visible().map((n) => this.columns[n].key);
    this.chosen = on ? [...keys, key] : keys.filter((each) => each !== key);
    this.heads();
    this.remember();
    this.schedule();
  }

  shift(key, by) {
    const keys = this.visible().map((n) => this.columns[n].key);
    const at = keys.indexOf(key);
    const to = Math.min(keys.length - 1, Math.max(0, at + by));
    keys.splice(to, 0, ...keys.splice(at, 1));
    this.chosen = keys;
    this.heads();
    this.remember();
    this.schedule();
  }

  // -- drawing --------------------------------------------------------------------------------------------------------

  schedule() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.draw(); });
  }

  scrolled() {
    this.schedule();
    if (this.mode !== "window") return;
    const [from, to] = this.wantedWindow();
    const [first, last] = this.inView();
    const [had, until] = this.asked ?? [0, 0];
    if (first < had || last > until) {
      this.asked = [from, to];
      this.live.send({ op: "view", from, to });
    }
  }

  inView() {
    const height = this.rowHeight;
    const first = Math.floor(this.grid.scrollTop / height);
    return [first, first + Math.ceil((this.grid.clientHeight || 600) / height)];
  }

  wantedWindow() {
    const [first, last] = this.inView();
    return [Math.max(0, first - WINDOW), last + WINDOW];
  }

  draw() {
    if (this.dirty) this.arrange();
    const height = this.rowHeight;
    this.body.style.setProperty("height", `${this.total * height}px`);
    this.grid.setAttribute("aria-rowcount", String(this.total + 1));
    const [first, last] = this.inView();
    const start = Math.max(0, first - OVERSCAN);
    const stop = Math.min(this.total, last + OVERSCAN);
    const places = this.columns.length ? this.visible() : [];
    while (this.pool.length < stop - start) this.pool.push(this.makeRow(places));
    const now = performance.now();
    this.pool.forEach((element, n) => {
      const at = start + n;
      if (at >= stop) { element.hidden = true; return; }
      this.drawRow(element, at, height, places, now);
    });
    this.status();
  }

  makeRow(places) {
    const row = node("div", "lt-row");
    row.setAttribute("role", "row");
    places.forEach((place, n) => {
      const cell = node("div", `lt-td lt-${this.columns[place].type}`);
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-colindex", String(n + 1));
      if (place === 2) cell.append(node("a"));
      row.append(cell);
    });
    this.body.append(row);
    return row;
  }

  drawRow(element, at, height, places, now) {
    const id = this.order[at - this.from];
    const row = id === undefined ? undefined : this.rows.get(id);
    element.hidden = false;
    if (element.at !== at || element.tall !== height) {
      element.style.setProperty("transform", `translateY(${at * height}px)`);
      element.dataset.at = at;
      element.setAttribute("aria-rowindex", String(at + 2));
      element.at = at;
      element.tall = height;
    }
    const focused = at === this.focused;
    if (element.focused !== focused) {
      element.focused = focused;
      element.classList.toggle("lt-focused", focused);
      element.id = focused ? "lt-focused-row" : "";
    }
    const chosen = id !== undefined && this.selected.has(id);
    if (element.chosen !== chosen) { element.chosen = chosen; element.setAttribute("aria-selected", String(chosen)); }
    if (!row) {
      element.classList.add("lt-skeleton");
      element.row = null;
      for (const cell of element.children) (cell.firstElementChild ?? cell).textContent = "";
      return;
    }
    element.classList.remove("lt-skeleton");
    if (element.level !== row[2]) {
      element.level = row[2];
      element.dataset.level = LEVELS[row[2]] ?? "unknown";
    }
    // A row that did not change needs nothing but its ages, once a second.
    if (element.row === row && element.stamp === row.touched && now - element.drawnAt < 950) return;
    const fresh = row.touched && now - row.touched < 900 && element.row === row;
    element.row = row;
    element.stamp = row.touched;
    element.drawnAt = now;
    places.forEach((place, n) => this.drawCell(element.children[n], row, place, fresh));
  }

  drawCell(cell, row, place, fresh) {
    const text = format(this.columns[place], row[FIXED + place]);
    const target = place === 2 ? cell.firstElementChild : cell;
    if (target.textContent !== text) {
      target.textContent = text;
      cell.title = text.length > 24 ? text : "";
      if (fresh && this.columns[place].type !== "time" && !matchMedia("(prefers-reduced-motion: reduce)").matches) {
        cell.classList.remove("lt-changed");
        void cell.offsetWidth;
        cell.classList.add("lt-changed");
      }
    }
    if (place === 2) {
      const href = this.href(row);
      if (target.getAttribute("href") !== href) target.setAttribute("href", href);
    }
  }

  href(row) {
    const part = (text) => encodeURIComponent(text);
    return `/clusters/${part(row[1])}/${part(this.kind)}/${part(row[FIXED + 1] || "-")}/${part(row[FIXED + 2])}`;
  }

  status() {
    const all = this.mode === "whole" ? this.rows.size : this.total;
    const some = this.mode === "whole" && this.total !== all;
    const text = !this.loaded ? "" : some ? `${this.total.toLocaleString("en")} of ${all.toLocaleString("en")}` : `${this.total.toLocaleString("en")} object${this.total === 1 ? "" : "s"}`;
    if (this.count.textContent !== text) this.count.textContent = text;
    this.held_.hidden = !this.held;
    this.held_.textContent = `${this.held} change${this.held === 1 ? "" : "s"} of order held back`;
    const sentence = this.sentence();
    this.empty.hidden = !sentence;
    if (this.empty.textContent !== sentence) this.empty.textContent = sentence;
    if (this.inputs.q) {
      this.inputs.q.toggleAttribute("aria-invalid", Boolean(this.error));
      this.inputs.q.title = this.error;
    }
    this.notes();
  }

  sentence() {
    if (this.error) return this.error;
    if (!this.loaded) return "Loading …";
    if (this.total) return "";
    const states = Object.values(this.clusters);
    if (!states.length) return "No cluster is registered that you may see.";
    if (states.some((c) => c.state === "loading")) return "Loading …";
    if (this.query || this.rows.size) return "Nothing matches the filter.";
    const open = states.filter((c) => c.state !== "absent");
    if (!open.length) return "None of these clusters serves this kind.";
    if (open.every((c) => c.state === "forbidden")) return "The credentials of these clusters may not list this kind.";
    return "There are none.";
  }

  notes() {
    const now = Date.now() / 1000;
    const states = Object.values(this.clusters);
    const bad = states.filter((c) => !["live", "loading", "absent"].includes(c.state));
    const lag = this.newest ? now - this.newest : 0;
    let text = "live";
    let cls = "lt-live";
    if (this.connection === "ended") [text, cls] = ["signed out: reload the page", "lt-bad"];
    else if (this.connection === "reconnecting") [text, cls] = [`reconnecting, stale for ${Math.max(0, Math.round(now - (this.lostAt ?? now)))} s`, "lt-bad"];
    else if (!this.loaded) [text, cls] = ["loading", "lt-loading"];
    else if (bad.length && bad.length === states.length) [text, cls] = [bad[0].since ? `stale for ${Math.max(0, Math.round(now - bad[0].since))} s` : bad[0].state, "lt-bad"];
    else if (bad.length) [text, cls] = [`${states.length - bad.length} of ${states.length} clusters live`, "lt-warn"];
    this.badge.title = lag && this.newest ? `newest change ${Math.round(lag)} s ago` : "";
    if (this.badge.textContent !== text) this.badge.textContent = text;
    if (!this.badge.classList.contains(cls)) this.badge.className = `lt-badge ${cls}`;
    const key = JSON.stringify(bad.map((c) => [c.name, c.state, c.message]));
    if (key === this.noted) return;
    this.noted = key;
    this.note.replaceChildren(...bad.slice(0, 6).map((c) => {
      const line = node("p", `lt-note lt-note-${c.state}`);
      line.append(node("strong", "", shown(c.name)), node("span", "lt-note-state", c.state), node("span", "", shown(c.message || "")));
      return line;
    }));
  }

  // -- keyboard -------------------------------------------------------------------------------------------------------

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("button")) return;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / this.rowHeight) - 2);
    const moves = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page };
    if (event.key in moves) this.focus_(this.focused + moves[event.key]);
    else if (event.key === "Home") this.focus_(0);
    else if (event.key === "End") this.focus_(this.total - 1);
    else if (event.key === "Enter") this.openRow(this.focused);
    else if (event.key === "x") this.select(this.focused);
    else if (event.key === "/") this.inputs.q?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  focus_(at) {
    this.focused = Math.min(this.total - 1, Math.max(0, at));
    const height = this.rowHeight;
    const head = this.head.offsetHeight;
    const top = this.focused * height;
    if (top < this.grid.scrollTop) this.grid.scrollTop = top;
    else if (top + height > this.grid.scrollTop + this.grid.clientHeight - head) this.grid.scrollTop = top + height - this.grid.clientHeight + head;
    this.grid.setAttribute("aria-activedescendant", "lt-focused-row");
    this.schedule();
  }

  select(at) {
    const id = this.order[at - this.from];
    if (id === undefined) return;
    if (!this.selected.delete(id)) this.selected.add(id);
    this.schedule();
  }

  openRow(at) {
    const row = this.rows.get(this.order[at - this.from]);
    if (!row) return;
    const href = this.href(row);
    if (this.dispatchEvent(new CustomEvent("row-open", { detail: { href }, bubbles: true, cancelable: true }))) location.assign(href);
  }
}

customElements.define("live-table", LiveTable);
