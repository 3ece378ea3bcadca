// One live socket a tab, shared by all islands of the page.
//
// LiveSocket.open(handler) -> {send(message), close()}: handler.frame(frame), handler.again() when the connection is new
// (subscribe anew, with `have`). Events "live-state" on document tell the badge: detail {state, since}.
// It closes when the page is hidden for ten seconds and on pagehide, and comes back when it is shown.

const FIRST_MS = 300;
const CAP_MS = 10_000;
const HIDDEN_MS = 10_000;
const PING_MS = 10_000;
const SILENT_MS = 25_000;

class Live {
  constructor() {
    this.handlers = new Map();
    this.next = 1;
    this.tries = 0;
    this.socket = null;
    this.heard = 0;
    this.lostAt = null;
    this.timer = null;
    this.hidden = null;
    document.addEventListener("visibilitychange", () => this.visibility());
    addEventListener("pagehide", () => this.disconnect());
    addEventListener("pageshow", (event) => event.persisted && this.connect());
    setInterval(() => this.check(), PING_MS);
  }

  open(handler) {
    const id = this.next++;
    this.handlers.set(id, handler);
    if (this.socket && this.socket.readyState === WebSocket.OPEN) handler.again(id);
    else this.connect();
    return {
      id,
      send: (message) => this.send({ ...message, id }),
      close: () => {
        this.handlers.delete(id);
        this.send({ op: "unsub", id });
      },
    };
  }

  send(message) {
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  connect() {
    if (this.socket || !this.handlers.size || document.hidden) return;
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/live/data`);
    this.socket = socket;
    socket.onopen = () => {
      this.tries = 0;
      this.lostAt = null;
      this.heard = performance.now();
      this.tell("live");
      for (const [id, handler] of this.handlers) handler.again(id);
    };
    socket.onmessage = (event) => {
      this.heard = performance.now();
      const found = JSON.parse(event.data);
      for (const frame of Array.isArray(found) ? found : [found]) {
        const handler = this.handlers.get(frame.id);
        if (handler) handler.frame(frame);
      }
    };
    socket.onclose = (event) => this.lost(socket, event.code);
    socket.onerror = () => socket.close();
  }

  lost(socket, code) {
    if (socket !== this.socket) return;
    this.socket = null;
    this.lostAt ??= Date.now() / 1000;
    if (code === 4401 || code === 4403) {
      this.tell("ended");
      return;
    }
    this.tell("reconnecting");
    const wait = Math.min(CAP_MS, FIRST_MS * 2 ** this.tries++) * (0.5 + Math.random());
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), wait);
  }

  disconnect() {
    const socket = this.socket;
    this.socket = null;
    clearTimeout(this.timer);
    if (socket) socket.close();
  }

  visibility() {
    clearTimeout(this.hidden);
    if (document.hidden) this.hidden = setTimeout(() => this.disconnect(), HIDDEN_MS);
    else this.connect();
  }

  check() {
    if (!this.socket || this.socket.readyState !== WebSocket.OPEN) return;
    if (performance.now() - this.heard > SILENT_MS) this.socket.close();
    else this.socket.send('{"op":"ping"}');
  }

  tell(state) {
    document.dispatchEvent(new CustomEvent("live-state", { detail: { state, since: this.lostAt } }));
  }
}

let shared = null;

export const LiveSocket = {
  open(handler) {
    shared ??= new Live();
    return shared.open(handler);
  },
};
