// One entry of the browser's history for each thing that a person does: its first change of the address makes one, and
// what follows by itself (more settings of the same move, what the server puts right) goes into that entry.

(() => {
  if (window.prunescopeHistory) return; // a page that is drawn again
  window.prunescopeHistory = true;
  const { history, location } = window;
  const own = { push: history.pushState.bind(history), replace: history.replaceState.bind(history) };
  let due = false;
  const doing = () => (due = true);
  window.addEventListener("pointerdown", doing, true);
  window.addEventListener("keydown", doing, true);
  window.addEventListener("popstate", () => (due = false), true); // who goes back keeps what lies before them
  const write = (state, title, url) => {
    const moves = url !== undefined && url !== null && new URL(url, location.href).href !== location.href;
    const kind = moves && due ? "push" : "replace";
    if (moves) due = false;
    own[kind](state, title, url);
  };
  history.pushState = history.replaceState = write;
})();
