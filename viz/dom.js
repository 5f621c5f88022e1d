// What the components that we draw share; put in front of each of their scripts.

const SETTLE_MS = 120; // keys come in bursts; the page is told once

const left = new Map(); // by key: where components stood that were taken off the page, for their return

// What to do at the end of a component. Streamlit also ends a call that a newer one has overtaken: that is no end.
function ending(state, end) {
  const call = (state.calls = (state.calls ?? 0) + 1);
  return () => {
    if (state.calls !== call) return;
    clearTimeout(state.timer);
    state.due?.();
    end();
  };
}

// Tell the page in a moment, or at once if the component is taken away before.
function tellSoon(state, tell) {
  clearTimeout(state.timer);
  state.due = () => {
    state.due = null;
    tell();
  };
  state.timer = setTimeout(() => state.due?.(), SETTLE_MS);
}

function element(kind, className, parent, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function indexOf(slider, value) {
  const last = Math.round((slider.max - slider.min) / slider.step);
  return Math.min(last, Math.max(0, Math.round((value - slider.min) / slider.step)));
}

function valueOf(slider, index) {
  return Number((slider.min + index * slider.step).toFixed(6)); // 0.7, not 0.7000000000000001
}

function figure(parent) {
  const made = element("dl", "figure", parent);
  element("dt", "", made);
  element("dd", "value", made);
  element("dd", "note", made);
  return made;
}

function fillFigures(parent, figures, index) {
  while (parent.children.length < figures.length) figure(parent);
  while (parent.children.length > figures.length) parent.lastChild.remove();
  figures.forEach((made, i) => {
    parent.children[i].classList.toggle("rough", Boolean(made.rough[index]));
    const [name, value, note] = parent.children[i].children;
    name.textContent = made.label;
    value.textContent = made.values[index];
    note.textContent = made.notes[index];
  });
}
