// The square that the model sees, on the photo: dragged, scaled at its corners or by the slider, or by keys.

const CORNER_PX = 26; // a finger's reach around a corner
const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const SCALES = { "+": 1, "=": 1, "-": -1, "_": -1 };
const CORNERS = { nw: [0, 0], ne: [1, 0], sw: [0, 1], se: [1, 1] };
const states = new WeakMap();

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".crop");
  let state = states.get(parentElement);
  if (!state) {
    state = { timer: 0, turn: null, at: null };
    states.set(parentElement, state);
    furnish(state, root);
  }
  state.data = data;
  state.short = Math.min(data.width, data.height);
  state.tell = () => setStateValue("at", { ...state.at });
  if (state.turn !== data.turn) {
    state.turn = data.turn;
    state.at = { ...data.at };
  }
  if (state.photo.src !== data.photo) state.photo.src = data.photo;
  state.slider.min = data.least;
  state.slider.step = data.step / 2;
  draw(state);
  root.dataset.rendered = data.rev;
  return ending(state, () => states.delete(parentElement));
}

function furnish(state, root) {
  root.replaceChildren();
  state.stage = element("div", "stage", root);
  state.photo = element("img", "", state.stage);
  state.photo.alt = "";
  state.square = element("div", "square", state.stage);
  state.square.tabIndex = 0;
  state.square.setAttribute("role", "application");
  state.square.setAttribute("aria-label",
    "The square that the model sees. Arrow keys move it, plus and minus scale it, Home brings back the usual one.");
  for (const name of Object.keys(CORNERS)) element("span", `corner ${name}`, state.square);
  const controls = element("div", "controls", root);
  const label = element("label", "", controls, "Size of the square");
  state.slider = element("input", "", label);
  state.slider.type = "range";
  state.slider.max = 1;
  state.slider.oninput = () => scale(state, Number(state.slider.value));
  state.reset = element("button", "", controls, "Usual square");
  state.reset.type = "button";
  state.reset.onclick = () => put(state, state.data.usual);
  const hint = element("p", "hint", root, "Drag the square, or its corners.");
  element("span", "keys", hint, " Keys: arrows, plus, minus, Home.");
  state.live = element("p", "live", root);
  state.live.setAttribute("aria-live", "polite");
  state.square.onkeydown = (event) => pressed(state, event);
  state.stage.onpointerdown = (event) => grab(state, event);
}

// Where the square lies in pixels of the photo: shares of its width, height and shorter side made comparable.
function pixels({ at, data, short }) {
  return { left: at.x * data.width, top: at.y * data.height, side: at.size * short };
}

function put(state, wanted) {
  const { data, short } = state;
  const size = Math.min(1, Math.max(data.least, wanted.size));
  const within = (share, length) => Math.min(Math.max(0, share), 1 - (size * short) / length);
  const rounded = (number) => Number(number.toFixed(4));
  state.at = { x: rounded(within(wanted.x, data.width)), y: rounded(within(wanted.y, data.height)), size: rounded(size) };
  draw(state);
  tellSoon(state, state.tell);
}

function move(state, left, top) {
  put(state, { x: left / state.data.width, y: top / state.data.height, size: state.at.size });
}

function scale(state, size) { // about the middle
  const { left, top, side } = pixels(state);
  const half = (Math.min(1, Math.max(state.data.least, size)) * state.short) / 2;
  put(state, { x: (left + side / 2 - half) / state.data.width, y: (top + side / 2 - half) / state.data.height, size });
}

function pressed(state, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const { left, top } = pixels(state);
  const step = state.data.step * state.short;
  if (WAYS[event.key]) move(state, left + WAYS[event.key][0] * step, top + WAYS[event.key][1] * step);
  else if (SCALES[event.key]) scale(state, state.at.size + SCALES[event.key] * state.data.step);
  else if (event.key === "Home") put(state, state.data.usual);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

function grab(state, event) {
  const start = pixels(state);
  const stage = state.stage.getBoundingClientRect();
  const unit = stage.width / state.data.width;
  const at = (moved) => [(moved.clientX - stage.left) / unit, (moved.clientY - stage.top) / unit];
  const [x, y] = at(event);
  const reach = Math.min(CORNER_PX, (start.side * unit) / 3) / unit;
  const corner = Object.values(CORNERS).find(([right, down]) =>
    Math.hypot(x - start.left - right * start.side, y - start.top - down * start.side) < reach);
  const inside = x >= start.left && y >= start.top && x <= start.left + start.side && y <= start.top + start.side;
  const off = inside ? [x - start.left, y - start.top] : [start.side / 2, start.side / 2];
  const follow = (moved) => {
    const [toX, toY] = at(moved);
    if (corner) stretch(state, start, corner, toX, toY);
    else move(state, toX - off[0], toY - off[1]);
  };
  event.preventDefault();
  state.square.focus({ preventScroll: true });
  state.stage.setPointerCapture(event.pointerId);
  state.stage.onpointermove = follow;
  state.stage.onpointerup = state.stage.onpointercancel = () => (state.stage.onpointermove = null);
  if (!inside && !corner) follow(event);
}

// The corner follows the pointer, and the opposite one stays.
function stretch(state, start, [right, down], x, y) {
  const fixed = [start.left + (1 - right) * start.side, start.top + (1 - down) * start.side];
  const room = [right ? state.data.width - fixed[0] : fixed[0], down ? state.data.height - fixed[1] : fixed[1]];
  const asked = Math.max((x - fixed[0]) * (right ? 1 : -1), (y - fixed[1]) * (down ? 1 : -1));
  const side = Math.max(state.data.least * state.short, Math.min(asked, ...room));
  put(state, {
    x: (right ? fixed[0] : fixed[0] - side) / state.data.width,
    y: (down ? fixed[1] : fixed[1] - side) / state.data.height,
    size: side / state.short,
  });
}

function draw(state) {
  const { at, data, short } = state;
  const style = state.square.style;
  style.left = `${100 * at.x}%`;
  style.top = `${100 * at.y}%`;
  style.width = `${(100 * at.size * short) / data.width}%`;
  style.height = `${(100 * at.size * short) / data.height}%`;
  state.slider.value = at.size;
  const usual = ["x", "y", "size"].every((key) => Math.abs(at[key] - data.usual[key]) < 1e-4);
  state.reset.disabled = usual;
  const percent = (share) => `${Math.round(100 * share)} %`;
  state.live.textContent = usual
    ? "The usual square."
    : `Left edge at ${percent(at.x)}, top edge at ${percent(at.y)}, side ${percent(at.size)} of the shorter side.`;
}
