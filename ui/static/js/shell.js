// Keys, palette, theme button and the small behaviours that forms ask for by data attributes.
const palette = document.getElementById("palette");
const input = palette.querySelector("input");
const options = [...palette.querySelectorAll("[role=option]")];
const none = palette.querySelector(".palette-none");
let current = null;

function select(option) {
  current?.setAttribute("aria-selected", "false");
  current = option ?? null;
  current?.setAttribute("aria-selected", "true");
  if (current) { input.setAttribute("aria-activedescendant", current.id); current.scrollIntoView({ block: "nearest" }); }
  else input.removeAttribute("aria-activedescendant");
}
function filter() {
  const wanted = input.value.trim().toLowerCase();
  for (const option of options) option.hidden = !option.textContent.toLowerCase().includes(wanted);
  const left = options.filter((option) => !option.hidden);
  left.sort((a, b) => b.textContent.trim().toLowerCase().startsWith(wanted) - a.textContent.trim().toLowerCase().startsWith(wanted));
  none.hidden = left.length > 0;
  select(left[0]);
}
function open(dialog) {
  if (dialog.open) return;
  dialog.showModal();
  if (dialog === palette) { input.value = ""; filter(); input.focus(); }
}
function move(by) {
  const left = options.filter((option) => !option.hidden);
  if (left.length) select(left[(left.indexOf(current) + by + left.length) % left.length]);
}
const go = (option) => { if (option) location.assign(option.dataset.href); };

input.addEventListener("input", filter);
input.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") move(1);
  else if (event.key === "ArrowUp") move(-1);
  else if (event.key === "Enter") go(current);
  else return;
  event.preventDefault();
});
palette.addEventListener("click", (event) => {
  if (event.target === palette) palette.close();
  go(event.target.closest("[role=option]"));
});
for (const button of document.querySelectorAll("[data-open]")) button.addEventListener("click", () => open(document.getElementById(button.dataset.open)));

const THEMES = ["auto", "light", "dark"];
document.querySelector("[data-theme-toggle]").addEventListener("click", (event) => {
  let chosen = "auto";
  try { chosen = localStorage.getItem("theme") ?? "auto"; } catch { /* storage may be forbidden */ }
  const next = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
  try { localStorage.setItem("theme", next); } catch { /* as above */ }
  event.currentTarget.title = `Theme: ${next}`;
  dispatchEvent(new Event("kn-theme"));
});

const PLACES = { f: "/", c: "/clusters", p: "/resources/pods" };
let waiting = 0;
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); open(palette); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
  if (event.key === "?") open(document.getElementById("keys"));
  else if (event.key === "/") { const field = document.querySelector("[data-filter]"); if (field) { event.preventDefault(); field.focus(); } }
  else if (event.key === "g") waiting = Date.now();
  else if (Date.now() - waiting < 1200 && PLACES[event.key]) location.assign(PLACES[event.key]);
});

for (const field of document.querySelectorAll("[data-submit]")) field.addEventListener("change", () => field.form.requestSubmit());
for (const field of document.querySelectorAll("[data-file-into]")) {
  field.addEventListener("change", async () => {
    const target = document.getElementById(field.dataset.fileInto);
    const file = field.files[0];
    if (!file) return;
    if (file.size > 2 ** 20) { target.value = ""; target.placeholder = "This file is larger than 1 MiB: no kubeconfig is."; return; }
    target.value = await file.text();
    target.dispatchEvent(new Event("change", { bubbles: true }));
  });
}
