// The token of a one-time link is behind "#": it goes into the form, and out of the address and the history.
const form = document.querySelector("[data-link]");
const token = location.hash.slice(1);
if (token) {
  history.replaceState(null, "", location.pathname);
  form.elements.token.value = token;
  form.submit();
}
