// <kn-age at="2026-01-01T00:00:00+00:00" suffix=" ago">: the time since then, counted here so that no patch is needed for it.
const UNITS = [[86400 * 365, "y"], [86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];

export function age(seconds) {
  const left = Math.max(0, Math.floor(seconds));
  for (const [size, letter] of UNITS) if (left >= size) return `${Math.floor(left / size)}${letter}`;
  return "0s";
}

const shown = new Set();
class Age extends HTMLElement {
  static observedAttributes = ["at"];
  // Drawn in a shadow root: a patch compares the element's own text, which stays as the server wrote it.
  #text = this.attachShadow({ mode: "open" });
  connectedCallback() { shown.add(this); this.draw(); }
  disconnectedCallback() { shown.delete(this); }
  attributeChangedCallback() { if (this.isConnected) this.draw(); }
  draw() {
    const at = Date.parse(this.getAttribute("at"));
    if (Number.isNaN(at)) { this.#text.textContent = this.textContent; return; }
    const text = age((Date.now() - at) / 1000) + (this.getAttribute("suffix") ?? "");
    if (this.#text.textContent !== text) this.#text.textContent = text;
  }
}
customElements.define("kn-age", Age);
setInterval(() => { if (!document.hidden) for (const each of shown) each.draw(); }, 1000);
