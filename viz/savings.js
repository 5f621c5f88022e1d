// Sliders of both methods with numbers that follow, and the frontier of accuracy against cost with "you are here".

const HEIGHT = 340;
const ROOM = { left: 60, right: 16, top: 14, bottom: 48 };
const SPACE = "http://www.w3.org/2000/svg";
const states = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".savings");
  let state = states.get(parentElement);
  if (!state) {
    state = { frame: 0, timer: 0, turn: null, at: {}, cost: "macs", wanted: "macs", ...left.get(data.key) };
    states.set(parentElement, state);
    root.replaceChildren();
    state.tracks = element("div", "tracks", root);
    state.frontier = element("div", "frontier", root);
    state.live = element("p", "live", root);
    state.live.setAttribute("aria-live", "polite");
    state.observer = new ResizeObserver(() => ask(state));
    state.observer.observe(root);
  }
  state.data = data;
  state.tell = () => setStateValue("at", { ...Object.fromEntries(
    data.tracks.map((track) => [track.key, valueOf(track.slider, state.at[track.key])])), cost: state.wanted });
  if (state.turn !== data.turn) {
    state.turn = data.turn;
    state.wanted = data.at.cost;
    for (const track of data.tracks) state.at[track.key] = indexOf(track.slider, data.at[track.key]);
  }
  furnish(state);
  draw(state);
  announce(state);
  root.dataset.rendered = data.rev;
  roomOf(state, root);
  return ending(state, () => {
    state.observer.disconnect();
    cancelAnimationFrame(state.frame);
    states.delete(parentElement);
    left.set(data.key, { turn: state.turn, at: state.at, wanted: state.wanted });
  });
}

// The room that the page keeps is a guess until this is drawn; what stands below must not wait behind a hole.
function roomOf(state, root) {
  const place = parentOf(root);
  if (place && state.room !== root.clientWidth && root.clientWidth) {
    state.room = root.clientWidth;
    place.style.minHeight = `${root.offsetHeight}px`;
  }
}

const parentOf = (root) => root.getRootNode().host?.closest(".st-key-savings");

function furnish(state) {
  const { data } = state;
  const wanted = data.tracks.map((track) => track.key).join();
  if (state.tracks.dataset.keys !== wanted) {
    state.tracks.dataset.keys = wanted;
    state.tracks.replaceChildren();
    state.parts = data.tracks.map((track) => trackOf(state.tracks, track));
  }
  data.tracks.forEach((track, i) => {
    const { range } = state.parts[i];
    Object.assign(range, { min: track.slider.min, max: track.slider.max, step: track.slider.step });
    range.oninput = () => {
      state.at[track.key] = indexOf(track.slider, Number(range.value));
      ask(state);
    };
    range.onchange = () =>
      tellSoon(state, () => {
        announce(state);
        state.tell();
      });
  });
  state.frontier.hidden = !data.series.length;
  state.cost = data.axes[state.wanted] ? state.wanted : "macs"; // latency comes once it is measured
  if (!state.chart) chartOf(state);
  for (const button of state.switches.children) button.disabled = !data.axes[button.value];
}

function trackOf(parent, track) {
  const box = element("div", "track-box", parent);
  element("h2", "", box, track.name);
  const label = element("label", "", box);
  element("span", "", label, track.slider.label);
  const output = element("output", "", label);
  const range = element("input", "", box);
  range.type = "range";
  range.id = `range-${track.key}`;
  label.htmlFor = range.id;
  range.setAttribute("aria-label", `${track.slider.label}, ${track.name}`); // two methods have a keep ratio
  return { range, output, figures: element("div", "figures", box) };
}

function chartOf(state) {
  const bar = element("div", "bar", state.frontier);
  element("h2", "", bar, "Accuracy against cost");
  state.switches = element("div", "switches", bar);
  state.switches.setAttribute("role", "group");
  state.switches.setAttribute("aria-label", "Cost");
  for (const [value, text] of [["macs", "MACs"], ["ms", "Predicted latency"]]) {
    const button = element("button", "", state.switches, text);
    button.type = "button";
    button.value = value;
    button.onclick = () => {
      state.cost = state.wanted = value;
      draw(state);
      state.tell();
    };
  }
  state.legend = element("div", "legend", state.frontier);
  state.chart = document.createElementNS(SPACE, "svg");
  state.chart.setAttribute("role", "img");
  state.chart.setAttribute("height", HEIGHT);
  state.frontier.append(state.chart);
  state.hint = element("p", "hint", state.frontier);
}

function ask(state) {
  state.frame ||= requestAnimationFrame(() => {
    state.frame = 0;
    draw(state);
  });
}

function announce(state) {
  state.live.textContent = state.data.tracks.map((track) => {
    const index = state.at[track.key];
    return `${track.name}, ${track.labels[index]}: ` +
      track.figures.map((made) => `${made.label} ${made.values[index]}, ${made.notes[index]}`).join("; ");
  }).join(". ");
}

function draw(state) {
  const { data } = state;
  data.tracks.forEach((track, i) => {
    const { range, output, figures } = state.parts[i];
    const index = state.at[track.key];
    range.value = valueOf(track.slider, index);
    range.setAttribute("aria-valuetext", track.labels[index]);
    output.textContent = track.labels[index];
    fillFigures(figures, track.figures, index);
    for (const box of figures.children) {
      box.classList.toggle("warn", /slower than dense|^nothing saved/.test(box.lastChild.textContent));
    }
  });
  if (data.series.length) frontier(state);
}

// --- the frontier -----------------------------------------------------------------------------------------------------

function svg(kind, parent, attributes, text) {
  const made = document.createElementNS(SPACE, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// Corners of the symbols that are neither circles nor squares, around 0 with a reach of about 1.
const CORNERS = {
  triangle: [[0, -1.3], [1.2, 0.85], [-1.2, 0.85]],
  wedge: [[0, 1.3], [1.2, -0.85], [-1.2, -0.85]],
  cross: [[-1.2, -0.7], [-0.7, -1.2], [0, -0.5], [0.7, -1.2], [1.2, -0.7], [0.5, 0], [1.2, 0.7], [0.7, 1.2], [0, 0.5],
    [-0.7, 1.2], [-1.2, 0.7], [-0.5, 0]],
  house: [[0, -1.3], [1.1, -0.3], [1.1, 1], [-1.1, 1], [-1.1, -0.3]],
};

function symbol(parent, [colour, shape], x, y, size, open) {
  const paint = { fill: open ? "none" : colour, stroke: colour, "stroke-width": open ? (size < 8 ? 2 : 3) : 1 };
  if (shape === "circle") return svg("circle", parent, { cx: x, cy: y, r: size, ...paint });
  if (CORNERS[shape]) {
    const points = CORNERS[shape].map(([across, down]) => `${x + across * size},${y + down * size}`).join(" ");
    return svg("polygon", parent, { points, ...paint });
  }
  const turn = shape === "diamond" ? `rotate(45 ${x} ${y})` : "";
  const half = size * 0.9;
  return svg("rect", parent,
    { x: x - half, y: y - half, width: 2 * half, height: 2 * half, transform: turn, ...paint });
}

function frontier(state) {
  const { data, chart, cost } = state;
  const width = state.frontier.clientWidth;
  if (!width) return;
  const across = data.axes[cost];
  const up = data.axes.top1;
  const x = (value) => ROOM.left + ((value - across.low) / (across.high - across.low)) * (width - ROOM.left - ROOM.right);
  const y = (value) => HEIGHT - ROOM.bottom - ((value - up.low) / (up.high - up.low)) * (HEIGHT - ROOM.top - ROOM.bottom);
  for (const button of state.switches.children) button.setAttribute("aria-pressed", String(button.value === cost));
  chart.replaceChildren();
  chart.setAttribute("width", width);
  chart.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  axes(chart, across, up, x, y, width);
  if (cost === "ms" && data.limit >= across.low && data.limit <= across.high) {
    const at = x(data.limit);
    svg("line", chart, { x1: at, x2: at, y1: ROOM.top, y2: HEIGHT - ROOM.bottom, class: "limit" });
    const side = at > width / 2 ? ["end", -6] : ["start", 6];
    svg("text", chart, { x: at + side[1], y: ROOM.top + 10, "text-anchor": side[0] }, `limit ${data.limit} ms`);
  }
  for (const series of data.series) {
    const points = series.points.filter((point) => point[cost] !== null).sort((a, b) => a[cost] - b[cost]);
    if (series.joined && cost === "macs" && points.length > 1) { // predicted times are no steady function of a setting
      const line = points.map((point) => `${x(point[cost])},${y(point.top1)}`).join(" ");
      svg("polyline", chart, { points: line, fill: "none", stroke: series.look[0], "stroke-width": 2,
        ...(series.hollow ? { "stroke-dasharray": "5 4" } : {}) });
    }
    for (const point of points) {
      if (point.margin !== null) {
        const [at, low, high] = [x(point[cost]), y(point.top1 - point.margin), y(point.top1 + point.margin)];
        svg("line", chart, { x1: at, x2: at, y1: low, y2: high, stroke: series.look[0], class: "margin" });
      }
      const mark = symbol(chart, series.look, x(point[cost]), y(point.top1), 5, series.hollow);
      const words = `${series.name}, ${point.label}: ${point.said} % top-1 at ${unit(point, cost)}`;
      svg("title", mark, {}, words);
      mark.onpointerenter = () => (state.hint.textContent = words);
      mark.onpointerleave = () => (state.hint.textContent = state.here);
    }
  }
  const said = data.tracks.map((track) => here(chart, track, state.at[track.key], cost, x, y, width));
  state.here = `You are here: ${said.join("; ")}.`;
  state.hint.textContent = state.here;
  chart.setAttribute("aria-label", `Recorded top-1 accuracy against ${across.title}. ${state.hint.textContent}`);
  legend(state, cost);
}

function unit(point, cost) {
  return cost === "macs" ? `${Number((point.macs / (point.macs < 1000 ? 1 : 1000)).toPrecision(3))} ${point.macs < 1000 ? "M" : "G"} MACs` : `${point.ms.toFixed(1)} ms`;
}

function axes(chart, across, up, x, y, width) {
  const floor = HEIGHT - ROOM.bottom;
  for (const tick of up.ticks) {
    svg("line", chart, { x1: ROOM.left, x2: width - ROOM.right, y1: y(tick.at), y2: y(tick.at), class: "grid" });
    svg("text", chart, { x: ROOM.left - 8, y: y(tick.at) + 4, "text-anchor": "end" }, tick.text);
  }
  const every = width < 480 ? 2 : 1;
  across.ticks.forEach((tick, i) => {
    svg("line", chart, { x1: x(tick.at), x2: x(tick.at), y1: floor, y2: floor + 5, class: "axis" });
    if (i % every === 0) svg("text", chart, { x: x(tick.at), y: floor + 20, "text-anchor": "middle" }, tick.text);
  });
  svg("line", chart, { x1: ROOM.left, x2: width - ROOM.right, y1: floor, y2: floor, class: "axis" });
  svg("text", chart, { x: (ROOM.left + width - ROOM.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, across.title);
  const middle = (ROOM.top + floor) / 2;
  svg("text", chart, { x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }, up.title);
}

function here(chart, track, index, cost, x, y, width) {
  const point = track.points[index];
  if (point[cost] === null) return `${track.name}, no prediction`;
  const at = x(point[cost]);
  const where = `${track.name} at ${track.labels[index]}, ${unit(point, cost)}`;
  svg("line", chart,
    { x1: at, x2: at, y1: point.top1 === null ? ROOM.top : y(point.top1), y2: HEIGHT - ROOM.bottom, class: "here", stroke: track.look[0] });
  if (point.top1 === null) return `${where}, nothing recorded near`;
  symbol(chart, track.look, at, y(point.top1), 10, true);
  return `${where}, ${point.said} % top-1 (${track.figures.at(-1).notes[index]})`;
}

function legend(state, cost) {
  state.legend.replaceChildren();
  const placed = (series) => series.points.some((point) => point[cost] !== null);
  for (const series of state.data.series.filter(placed)) {
    const key = element("span", "key", state.legend);
    const swatch = document.createElementNS(SPACE, "svg");
    swatch.setAttribute("width", 16);
    swatch.setAttribute("height", 16);
    symbol(swatch, series.look, 8, 8, 5, series.hollow);
    key.append(swatch, `${series.name}${series.joined ? ", recorded" : ""}`);
  }
  const key = element("span", "key", state.legend);
  const swatch = document.createElementNS(SPACE, "svg");
  swatch.setAttribute("width", 20);
  swatch.setAttribute("height", 20);
  svg("circle", swatch, { cx: 10, cy: 10, r: 7, class: "ring" });
  key.append(swatch, "where the sliders stand");
  const left = state.data.series.filter((series) => !placed(series)).map((series) => series.name);
  if (left.length) element("span", "key", state.legend).append(`no latency predicted: ${left.join(", ")}`);
}
