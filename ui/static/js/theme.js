// Sets the theme before the first paint: what was chosen here, else what the system prefers.
const dark = matchMedia("(prefers-color-scheme: dark)");
const chosen = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
function apply() {
  const wanted = chosen();
  document.documentElement.dataset.bsTheme = wanted === "light" || wanted === "dark" ? wanted : dark.matches ? "dark" : "light";
}
apply();
dark.addEventListener("change", apply);
addEventListener("storage", apply);
addEventListener("kn-theme", apply);
