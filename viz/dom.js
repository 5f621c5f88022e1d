// What the components that we draw share; put in front of each of their scripts.

const SETTLE_MS = 120; // keys come in bursts; the page is told once

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
    const [name, value, note] = parent.children[i].children;
    name.textContent = made.label;
    value.textContent = made.values[index];
    note.textContent = made.notes[index];
  });
}
