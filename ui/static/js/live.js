// The badge that says honestly whether this page is live, and what to do when its stream ends for good.
const badge = document.querySelector("[data-live-badge]");
let lost = 0;

function say(state, text) {
  if (!badge || badge.dataset.state === state && badge.textContent === text) return;
  badge.dataset.state = state;
  badge.textContent = text;
}

if (badge) say("late", "connecting");
document.addEventListener("htmx:sse:after:connection", () => { lost = 0; say("live", "live"); });
document.addEventListener("htmx:sse:after:message", () => { lost = 0; say("live", "live"); });
document.addEventListener("htmx:sse:error", (event) => {
  if (event.detail.status === 401 || event.detail.status === 403) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
    return;
  }
  lost ||= Date.now();
});
document.addEventListener("htmx:sse:close", () => { lost ||= Date.now(); });
// The first request fails outside the stream's own retries: ask again.
document.addEventListener("htmx:error", (event) => {
  if (event.target.matches?.("[data-live]")) lost ||= Date.now();
});
setInterval(() => {
  if (!lost) return;
  const away = Math.round((Date.now() - lost) / 1000);
  if (away >= 2) say("lost", `reconnecting, stale since ${away} s`);
  if (away >= 30 && navigator.onLine && !document.querySelector("form :focus")) location.reload();
}, 1000);
