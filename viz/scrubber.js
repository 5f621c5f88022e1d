// The budget scrubber: a slider, figures, the network block by block and a diagram of all steps, drawn from what was
// sent once. While one drags, everything follows in the browser; on release the page is told. Also used for the search,
// where the steps are moments and a button plays them.

const ROW = 36; // pixels per block, in the network and in the diagram, so that rows stand side by side
const AXIS = 44;
const EDGE = 26; // left of the diagram: block numbers
const PLAY_MS = 140;
const ICONS = { play: "M5 3l11 7-11 7z", pause: "M4 3h4v14H4zM12 3h4v14h-4z" };
const states = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let state = states.get(parentElement);
  if (!state) {
    state = { frame: 0, timer: 0, player: 0, index: 0, block: 0, turn: null, hover: null, ...left.get(data.key) };
    states.set(parentElement, state);
    state.view = build(parentElement.querySelector(".scrubber"));
    state.observer = new ResizeObserver(() => {
      state.bitmap = null;
      ask(state);
    });
    state.observer.observe(state.view.canvas.parentElement);
  }
  state.data = data;
  state.tell = (at) => setStateValue("at", at);
  state.bitmap = null; // new data, or a new theme
  if (state.turn !== data.turn) {
    state.turn = data.turn;
    state.index = indexOf(data.slider, data.at.value);
    state.block = data.at.block;
  }
  furnish(state);
  draw(state);
  announce(state);
  parentElement.querySelector(".scrubber").dataset.rendered = data.rev;
  return ending(state, () => {
    state.observer.disconnect();
    cancelAnimationFrame(state.frame);
    clearInterval(state.player);
    states.delete(parentElement);
    left.set(data.key, { turn: state.turn, index: state.index, block: state.block });
  });
}

// --- the parts, made once ---------------------------------------------------------------------------------------------

function build(root) {
  root.replaceChildren();
  const control = element("div", "control", root);
  const play = element("button", "play", control);
  play.type = "button";
  const slot = element("div", "slot", control);
  const label = element("label", "", slot);
  const name = element("span", "name", label);
  const output = element("output", "", label);
  const range = element("input", "", slot);
  range.type = "range";
  range.id = "range";
  label.htmlFor = "range";
  const figures = element("div", "figures", root);
  const sentence = element("h2", "sentence", root);
  const panels = element("div", "panels", root);
  const network = element("div", "network", panels);
  const networkTitle = element("h3", "", network);
  headOf(network);
  const rows = element("div", "rows", network);
  const phase = element("div", "phase", panels);
  const phaseTitle = element("h3", "", phase);
  const legend = element("div", "legend", phase);
  const holder = element("div", "holder", phase);
  const canvas = element("canvas", "", holder);
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  const hint = element("p", "hint", phase);
  const beside = element("div", "beside", panels);
  const live = element("p", "live", root);
  live.setAttribute("aria-live", "polite");
  return { root, play, name, output, range, figures, sentence, panels, network, networkTitle, rows, phase, phaseTitle,
    legend, canvas, hint, beside, live };
}

// --- what depends on the data, not on the step ------------------------------------------------------------------------

function furnish(state) {
  const { data, view } = state;
  view.name.textContent = data.slider.label;
  Object.assign(view.range, { min: data.slider.min, max: data.slider.max, step: data.slider.step });
  view.range.oninput = () => go(state, indexOf(data.slider, Number(view.range.value)), state.block, false);
  view.range.onchange = () => settle(state);
  view.play.hidden = !data.playable;
  view.play.onclick = () => (state.player ? stop(state) : start(state));
  if (!state.player) icon(view.play, "play", "Play");
  view.networkTitle.textContent = data.titles.network;
  view.phaseTitle.textContent = data.titles.phase;
  view.phase.hidden = Boolean(data.beside);
  view.beside.hidden = !data.beside;
  legendOf(view.legend, data);
  const depth = data.full.length;
  if (state.rows?.length !== depth) {
    view.rows.replaceChildren();
    state.rows = Array.from({ length: depth }, (_, block) => rowOf(view.rows, block, true));
  }
  state.rows.forEach((row, block) => (row.button.onclick = () => go(state, state.index, block, true)));
  if (data.beside) besideOf(view.beside, data);
  view.canvas.onpointerdown = (event) => {
    view.canvas.setPointerCapture(event.pointerId);
    point(state, event);
  };
  view.canvas.onpointermove = (event) => {
    if (event.buttons & 1) point(state, event);
    else state.hover = cellAt(state, event);
    ask(state);
  };
  view.canvas.onpointerup = () => settle(state);
  view.canvas.onpointerleave = () => {
    state.hover = null;
    ask(state);
  };
  view.canvas.onkeydown = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    go(state, state.index + step[0], state.block + step[1], true);
  };
}

function icon(button, shape, words) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[shape]);
  svg.append(path);
  button.replaceChildren(svg, document.createTextNode(words));
}

function rowOf(parent, block, clickable) {
  const button = element(clickable ? "button" : "div", "row", parent);
  if (clickable) button.type = "button";
  const name = element("span", "block", button);
  element("span", "wide", name, "Block ");
  name.append(String(block + 1));
  const mixer = element("span", "mixer", button);
  const track = element("span", "track", button);
  const bar = element("span", "bar", track);
  const share = element("span", "share", button);
  const cost = element("span", "cost", button);
  return { button, mixer, bar, share, cost };
}

function headOf(parent) {
  const head = element("div", "row head", parent);
  for (const text of ["", "Mixer", "FFN left", "", "MACs"]) element("span", "", head, text);
}

function fillRow(row, look, part, cost, ffn) {
  row.mixer.textContent = look.word;
  row.mixer.style.background = look.colour;
  row.mixer.style.color = look.ink;
  row.bar.style.width = `${100 * part}%`;
  row.bar.style.background = ffn;
  row.share.textContent = `${part > 0 && part < 0.005 ? "< 1" : Math.round(100 * part)} %`;
  row.cost.textContent = cost;
}

function legendOf(parent, data) {
  parent.replaceChildren();
  for (const look of data.looks) {
    const item = element("span", "key", parent);
    const swatch = element("canvas", "swatch", item);
    swatch.width = swatch.height = 28;
    const pen = swatch.getContext("2d");
    pen.scale(2, 2);
    paint(pen, look, 0, 0, 14, 14);
    item.append(look.word);
  }
  const item = element("span", "key", parent);
  element("span", "swatch ffn", item).style.background = data.ffn;
  item.append("FFN hidden units left, as height");
}

function besideOf(parent, data) {
  const { beside } = data;
  parent.replaceChildren();
  element("h3", "", parent, beside.title);
  headOf(parent);
  const rows = element("div", "rows", parent);
  beside.mixers.forEach((mixer, block) =>
    fillRow(rowOf(rows, block, false), data.looks[mixer], beside.shares[block], beside.costs[block], data.ffn));
  element("p", "hint", parent, beside.note);
}

// --- moving -----------------------------------------------------------------------------------------------------------

function go(state, index, block, tell) {
  state.index = Math.min(state.data.labels.length - 1, Math.max(0, index));
  state.block = Math.min(state.data.full.length - 1, Math.max(0, block));
  ask(state);
  if (tell) settle(state);
}

function settle(state) {
  tellSoon(state, () => {
    announce(state);
    state.tell({ value: valueOf(state.data.slider, state.index), block: state.block });
  });
}

function announce(state) {
  const { data, view, index } = state;
  view.live.textContent = `${data.slider.label}: ${data.labels[index]}. ${data.sentences[index]}. ` +
    data.figures.map((made) => `${made.label}: ${made.values[index]}`).join(", ") + ".";
}

function start(state) {
  if (state.index >= state.data.labels.length - 1) state.index = 0;
  icon(state.view.play, "pause", "Pause");
  state.player = setInterval(() => {
    if (state.index >= state.data.labels.length - 1) stop(state);
    else go(state, state.index + 1, state.block, false);
  }, PLAY_MS);
}

function stop(state) {
  clearInterval(state.player);
  state.player = 0;
  icon(state.view.play, "play", "Play");
  announce(state);
}

function cellAt(state, event) {
  const box = state.view.canvas.getBoundingClientRect();
  const steps = state.data.labels.length;
  const column = Math.floor(((event.clientX - box.left - EDGE) / (box.width - EDGE)) * steps);
  const row = Math.floor((event.clientY - box.top) / ROW);
  if (column < 0 || column >= steps || row < 0 || row >= state.data.full.length) return null;
  return { index: column, block: row };
}

function point(state, event) {
  const cell = cellAt(state, event);
  if (cell) go(state, cell.index, cell.block, false);
}

// --- drawing ----------------------------------------------------------------------------------------------------------

function ask(state) {
  if (!state.frame) {
    state.frame = requestAnimationFrame(() => {
      state.frame = 0;
      draw(state);
    });
  }
}

function draw(state) {
  const { data, view, index, block } = state;
  view.range.value = valueOf(data.slider, index);
  view.range.setAttribute("aria-valuetext", data.labels[index]);
  view.output.textContent = data.labels[index];
  view.sentence.textContent = data.sentences[index];
  fillFigures(view.figures, data.figures, index);
  state.rows.forEach((row, b) => {
    fillRow(row, data.looks[data.mixers[index][b]], data.hidden[index][b] / data.full[b], data.costs[index][b], data.ffn);
    row.button.setAttribute("aria-pressed", String(b === block));
  });
  if (!data.beside) phase(state);
}

function phase(state) {
  const { data, view, index, block } = state;
  const width = view.canvas.parentElement.clientWidth;
  if (!width) return;
  const depth = data.full.length;
  const height = depth * ROW + AXIS;
  const scale = window.devicePixelRatio || 1;
  if (!state.bitmap) {
    state.bitmap = still(data, width, height, scale, getComputedStyle(view.root));
    view.canvas.width = width * scale;
    view.canvas.height = height * scale;
    view.canvas.style.height = `${height}px`;
  }
  const pen = view.canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, view.canvas.width, view.canvas.height);
  pen.drawImage(state.bitmap, 0, 0);
  pen.scale(scale, scale);
  const column = (width - EDGE) / data.labels.length;
  pen.strokeStyle = data.mark;
  pen.lineWidth = 2;
  pen.setLineDash([5, 4]);
  pen.strokeRect(EDGE + 1, block * ROW + 1, width - EDGE - 2, ROW - 2);
  pen.setLineDash([]);
  pen.lineWidth = 3;
  const frame = Math.max(column, 7);
  const left = Math.min(width - frame - 2, Math.max(EDGE, EDGE + (index + 0.5) * column - frame / 2));
  pen.strokeRect(left, 1.5, frame, depth * ROW - 3);
  const cell = state.hover ?? { index, block };
  const word = data.looks[data.mixers[cell.index][cell.block]].word;
  view.hint.textContent = `Block ${cell.block + 1} at ${data.labels[cell.index]}: ${word}, ` +
    `${data.hidden[cell.index][cell.block]} of ${data.full[cell.block]} FFN hidden units`;
  view.canvas.setAttribute("aria-label",
    `${data.titles.phase}: ${data.labels.length} steps, ${depth} blocks. ${view.hint.textContent}. ` +
    "Arrow keys move the step and the block.");
}

function still(data, width, height, scale, { color: ink, fontFamily: font }) {
  const canvas = document.createElement("canvas");
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const steps = data.labels.length;
  const column = (width - EDGE) / steps;
  const band = 19; // of the row: the mixer; below it the FFN
  pen.font = `13px ${font}`;
  pen.textBaseline = "middle";
  data.full.forEach((full, block) => {
    const top = block * ROW + 2;
    pen.fillStyle = ink;
    pen.textAlign = "right";
    pen.fillText(String(block + 1), EDGE - 6, block * ROW + ROW / 2);
    let from = 0;
    for (let step = 1; step <= steps; step++) {
      if (step < steps && data.mixers[step][block] === data.mixers[from][block]) continue;
      const look = data.looks[data.mixers[from][block]];
      const left = EDGE + from * column;
      paint(pen, look, left, top, (step - from) * column - (step < steps ? 1 : 0), band);
      const room = pen.measureText(look.word).width + 8;
      if ((step - from) * column > room + 6) {
        pen.fillStyle = look.colour;
        const middle = left + ((step - from) * column) / 2;
        pen.fillRect(middle - room / 2, top, room, band);
        pen.fillStyle = look.ink;
        pen.textAlign = "center";
        pen.fillText(look.word, middle, top + band / 2 + 1);
      }
      from = step;
    }
    pen.fillStyle = "rgba(128, 128, 128, 0.18)";
    pen.fillRect(EDGE, top + band + 1, width - EDGE, ROW - band - 5);
    const floor = top + ROW - 4;
    pen.fillStyle = data.ffn;
    pen.beginPath();
    pen.moveTo(EDGE, floor);
    for (let step = 0; step < steps; step++) {
      const high = floor - (ROW - band - 5) * (data.hidden[step][block] / full);
      pen.lineTo(EDGE + step * column, high);
      pen.lineTo(EDGE + (step + 1) * column, high);
    }
    pen.lineTo(width, floor);
    pen.fill();
  });
  pen.fillStyle = ink;
  for (const tick of data.ticks) {
    const x = EDGE + (tick.index + 0.5) * column;
    const half = pen.measureText(tick.text).width / 2;
    pen.textAlign = "center";
    pen.fillRect(x, data.full.length * ROW + 1, 1, 4);
    pen.fillText(tick.text, Math.min(width - half, Math.max(EDGE + half, x)), data.full.length * ROW + 15);
  }
  pen.textAlign = "center";
  pen.fillText(data.axis, EDGE + (width - EDGE) / 2, data.full.length * ROW + 34);
  return canvas;
}

function paint(pen, look, left, top, width, height) {
  pen.save();
  pen.beginPath();
  pen.rect(left, top, width, height);
  pen.clip();
  pen.fillStyle = look.colour;
  pen.fillRect(left, top, width, height);
  pen.strokeStyle = pen.fillStyle = "rgba(17, 24, 39, 0.75)";
  pen.lineWidth = 1;
  for (let x = left - height; x < left + width + height; x += 6) {
    pen.beginPath();
    if (look.hatch === "/" || look.hatch === "x") {
      pen.moveTo(x, top + height);
      pen.lineTo(x + height, top);
    }
    if (look.hatch === "x") {
      pen.moveTo(x, top);
      pen.lineTo(x + height, top + height);
    }
    pen.stroke();
    if (look.hatch === ".") for (let y = top + 3; y < top + height; y += 6) pen.fillRect(x + 2, y, 1.5, 1.5);
  }
  pen.restore();
}
