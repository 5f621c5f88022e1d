// The token player: stage by stage through a trace. Python sends data and hears of stage, patch and keep ratio at rest.

const PER_STAGE_MS = 1100;
const FADE_MS = 800;
const FLY_MS = 700;
const MOST_FLYING = 48; // patches of one package; of more, some stand for all
const instances = new WeakMap();
const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

// Whether no player has played by itself in this tab yet; from now on one has.
function firstView() {
  try {
    if (sessionStorage.getItem("prunescope-played")) return false;
    sessionStorage.setItem("prunescope-played", "yes");
    return true;
  } catch {
    return false; // a browser that remembers nothing gets no motion that it did not ask for
  }
}

const percent = (share) => `${Math.round(share * 100)} %`;

export default function (component) {
  const { parentElement, data } = component;
  let player = instances.get(parentElement);
  if (!player) {
    player = createPlayer(parentElement.querySelector(".player"));
    instances.set(parentElement, player);
  }
  player.tell = (at) => component.setStateValue("at", at);
  player.receive(data);
  return ending(player, () => {
    player.end();
    instances.delete(parentElement);
  });
}

function createPlayer(root) {
  const find = (selector) => root.querySelector(selector);
  const canvas = find("canvas");
  const cursor = find(".cursor");
  const stageInput = find(".stage");
  const keepInput = find(".keep-input");
  const dimInput = find(".dim");
  const buffers = [document.createElement("canvas"), document.createElement("canvas")];
  const at = { stage: 0, token: null, keep: null }; // what is shown
  let data = null;
  let step = null; // the trace that is shown: Python's, or while the keep ratio is dragged one of the prepared
  let photo = null;
  let hovered = null; // a patch under the pointer or the keyboard's cursor
  let keyPatch = 0;
  let lit = 0; // the package whose members are lit, 0 for none
  let fadeStart = null;
  let frame = 0;
  let timer = 0;
  let playing = false;
  let toPlay = null; // whether to play by itself once the photo is there; false once that is past
  let dragging = false; // the keep ratio
  let dim = USUAL_DIM; // how dark what left is
  let peeking = false; // the photo without the mask
  let wanted = null; // the photo whose steps were asked for
  let told = []; // what Python has not answered yet
  let heard = null; // its last answer
  let turn = 0;
  let flown = new Set(); // packages of this photo whose patches have flown
  const chips = [];
  const ticks = [];

  // Where a model pools, each stage has a grid of its own, and patches are cells of that one.
  const onHere = () => data.on[at.stage];
  const gridHere = () => data.grids[onHere()];
  const leftHere = () => step.left[onHere()];

  // The patch of the present grid that lies where `patch` lay on another one.
  function across(patch, from) {
    const [rows, cols] = gridHere();
    const [oldRows, oldCols] = data.grids[from];
    const row = Math.floor(patch / oldCols);
    const down = Math.floor(((row + 0.5) / oldRows) * rows);
    return down * cols + Math.floor(((patch - row * oldCols + 0.5) / oldCols) * cols);
  }

  // --- drawing ---------------------------------------------------------------------------------------------------

  function scene() {
    const [rows, cols] = gridHere();
    const ratio = window.devicePixelRatio || 1;
    const wide = find(".picture").clientWidth;
    const cell = Math.max(4, Math.floor((wide * ratio) / Math.max(rows, cols)));
    return { photo, rows, cols, cell, ratio, looks: data.looks, step: { left: leftHere(), weight: step.weight[onHere()] }, dim };
  }

  function ready() {
    return photo && photo.complete && photo.naturalWidth && find(".picture").clientWidth > 0;
  }

  function draw(fade) {
    if (!data || !ready()) return;
    const now = scene();
    const [width, height] = [now.cols * now.cell, now.rows * now.cell];
    const [before, after] = buffers;
    const resized = [canvas, after].some((each) => each.width !== width || each.height !== height);
    if (resized) {
      for (const each of [canvas, before, after]) [each.width, each.height] = [width, height];
      canvas.style.width = `${width / now.ratio}px`;
      canvas.style.height = `${height / now.ratio}px`;
      find(".original").style.width = canvas.style.width;
    }
    if (fade && !resized && !calm()) {
      before.getContext("2d").drawImage(after, 0, 0);
      fadeStart = performance.now();
    } else if (fade !== undefined) {
      fadeStart = null;
    }
    paintStage(after.getContext("2d"), now, peeking ? 0 : at.stage);
    compose();
  }

  function compose() {
    cancelAnimationFrame(frame);
    const now = scene();
    const pen = canvas.getContext("2d");
    const [before, after] = buffers;
    const share = fadeStart === null ? 1 : Math.min(1, (performance.now() - fadeStart) / FADE_MS);
    if (share < 1) pen.drawImage(before, 0, 0);
    pen.globalAlpha = share;
    pen.drawImage(after, 0, 0);
    pen.globalAlpha = 1;
    if (lit && !peeking && lit <= at.stage && data.on[lit] === onHere()) paintMembers(pen, now, lit);
    if (at.token !== null) paintFrame(pen, now, at.token, 3);
    if (hovered !== null && hovered !== at.token) paintFrame(pen, now, hovered, 1.5);
    if (share < 1) frame = requestAnimationFrame(compose);
    else fadeStart = null;
    root.dataset.stage = at.stage;
    root.dataset.steps = Object.keys(data.steps ?? {}).length;
    root.dataset.rendered = data.rev;
  }

  // The patches that leave at a selector fly into the chip of their package, once for each photo.
  function fly(selector) {
    if (calm() || flown.has(selector) || !step.folded[selector - 1] || data.on[selector] !== onHere()) return;
    flown.add(selector);
    const now = scene();
    const cell = now.cell / now.ratio;
    const [from, home, to] = [canvas, root, chips[selector - 1].querySelector("img")].map((e) => e.getBoundingClientRect());
    const members = leftHere().flatMap((left, patch) => (left === selector ? [patch] : []));
    const every = Math.max(1, members.length / MOST_FLYING);
    for (let at = 0; at < members.length; at += every) {
      const patch = members[Math.floor(at)];
      const [x, y] = boxOf(now, patch).map((side) => side / now.ratio);
      const piece = element("i", "flying", root);
      const [left, top] = [from.left - home.left + x, from.top - home.top + y];
      Object.assign(piece.style, { left: `${left}px`, top: `${top}px`, width: `${cell}px`, height: `${cell}px` });
      piece.style.backgroundImage = `url(${data.photo})`;
      piece.style.backgroundSize = `${now.cols * cell}px ${now.rows * cell}px`;
      piece.style.backgroundPosition = `${-x}px ${-y}px`;
      const [across, down] = [to.left - home.left - left, to.top - home.top - top];
      const end = `translate(${across}px, ${down}px) scale(${to.width / cell})`;
      const moves = [{ transform: "none", opacity: 1 }, { transform: end, opacity: 0.6 }];
      piece.animate(moves, { duration: FLY_MS, delay: (at / members.length) * 150, easing: "ease-in", fill: "backwards" })
        .finished.then(() => piece.remove(), () => piece.remove());
    }
    root.dataset.flown = [...flown].join();
  }

  function light(selector, patch = null) {
    lit = selector;
    hovered = patch;
    const own = patch === null ? selector : leftHere()[patch];
    chips.forEach((chip, index) => chip.classList.toggle("lit", own === index + 1 && own <= at.stage));
    ticks.forEach((tick, index) => tick.classList.toggle("lit", own > 0 && own === index));
    if (ready()) compose();
  }

  // --- words -----------------------------------------------------------------------------------------------------

  function write() {
    const last = data.looks.length;
    stageInput.max = last;
    stageInput.value = at.stage;
    stageInput.setAttribute("aria-valuetext", step.sentences[at.stage]);
    find(".sentence").textContent = step.sentences[at.stage];
    find(".sum").textContent = step.sums[at.stage];
    canvas.setAttribute("aria-label", step.sentences[at.stage]);
    find(".back").disabled = at.stage === 0;
    find(".forth").disabled = at.stage === last;
    ticks.forEach((tick, index) => tick.classList.toggle("here", index === at.stage));
    chips.forEach((chip, index) => {
      const later = index >= at.stage;
      const count = step.folded[index];
      const tokens = count === 0 ? "none dropped" : `${count} token${count === 1 ? "" : "s"}`;
      chip.classList.toggle("later", later);
      chip.querySelector(".count").textContent = later ? `at selector ${index + 1}` : tokens;
    });
    writePatch();
  }

  function writePatch() {
    const table = find("table");
    const body = find("tbody");
    table.hidden = at.token === null;
    body.replaceChildren();
    if (at.token === null) {
      find(".patch-said").textContent = "Click a patch: it tells its score at every selector, and where it went.";
      return;
    }
    const left = leftHere()[at.token];
    const cols = gridHere()[1];
    const row = Math.floor(at.token / cols);
    const place = `Patch in row ${row + 1}, column ${at.token - row * cols + 1}`;
    const weight = step.weight[onHere()][at.token];
    const name = data.one_package ? "the package" : `package ${left}`;
    const into = weight > 0 ? `into ${name} with weight ${(weight * 100).toFixed(1)} %` : "into no package";
    find(".patch-said").textContent = left
      ? `${place}: left at selector ${left}, ${into}.`
      : `${place}: kept to the end${data.grids.length > 1 ? " of its grid" : ""}.`;
    step.scores.forEach((scores, index) => {
      if (data.on[index + 1] !== onHere()) return; // asked about other patches
      const score = scores[at.token];
      const line = body.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = `${index + 1}, before block ${data.blocks[index] + 1}`;
      line.append(head);
      const value = line.insertCell();
      if (score === null) value.textContent = "not asked";
      else {
        const meter = document.createElement("span");
        meter.className = "meter";
        meter.style.setProperty("--share", `${score / 10}%`);
        value.append(meter, (score / 1000).toFixed(3));
      }
      const gone = left && left <= index;
      line.insertCell().textContent = gone ? "had left" : left === index + 1 ? `left, ${into}` : "kept";
    });
  }

  function writeKeep() {
    find(".keep").hidden = !data.keep;
    if (!data.keep) return;
    Object.assign(keepInput, { min: data.keep.min, max: data.keep.max, step: data.keep.step });
    if (Number(keepInput.value) !== at.keep) keepInput.value = at.keep;
    keepInput.setAttribute("aria-valuetext", percent(at.keep));
    find(".keep-value").textContent = percent(at.keep);
    find(".keep-note").textContent = step === null ? "" : step.summary;
  }

  // --- moving ----------------------------------------------------------------------------------------------------

  function go(stage, fade = true) {
    const [from, before] = [onHere(), at.stage];
    at.stage = Math.min(data.looks.length, Math.max(0, stage));
    if (from !== onHere()) {
      if (at.token !== null) at.token = across(at.token, from);
      keyPatch = across(keyPatch, from);
    }
    write();
    light(0);
    draw(fade);
    if (fade && at.stage === before + 1 && ready()) fly(at.stage);
  }

  function say() {
    if (!data.tell || JSON.stringify(at) === JSON.stringify(told.at(-1) ?? heard)) return;
    told.push({ ...at });
    turn += 1; // so that what is told twice, with a link in between, still is news
    root.player.tell({ ...at, turn });
  }

  function play(from) {
    playing = true;
    root.classList.add("playing");
    name(".play", "Pause");
    if (from !== undefined) go(from);
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (at.stage >= data.looks.length) return pause();
      go(at.stage + 1);
      return at.stage >= data.looks.length ? pause() : play();
    }, PER_STAGE_MS);
  }

  function pause(quietly) {
    clearTimeout(timer);
    timer = 0;
    playing = false;
    root.classList.remove("playing");
    name(".play", "Play");
    if (!quietly) say();
  }

  const name = (selector, text) => ["aria-label", "title"].forEach((key) => find(selector).setAttribute(key, text));
  const toggle = () => (playing ? pause() : play(at.stage >= data.looks.length ? 0 : undefined));
  const jump = (stage) => {
    pause(true);
    go(stage);
    say();
  };

  function pick(patch) {
    pause(true);
    at.token = patch;
    writePatch();
    if (ready()) compose();
    say();
  }

  // --- the person ------------------------------------------------------------------------------------------------

  function patchUnder(event) {
    const box = canvas.getBoundingClientRect();
    const [rows, cols] = gridHere();
    const col = Math.floor(((event.clientX - box.left) / box.width) * cols);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    return row >= 0 && row < rows && col >= 0 && col < cols ? row * cols + col : null;
  }

  canvas.onpointermove = (event) => {
    if (event.pointerType !== "touch") light(0, patchUnder(event));
  };
  canvas.onpointerleave = () => light(0);
  canvas.onclick = (event) => {
    const patch = patchUnder(event);
    root.focus({ preventScroll: true });
    if (patch !== null) pick(patch === at.token ? null : patch);
  };
  cursor.onfocus = () => light(0, (keyPatch = at.token ?? keyPatch));
  cursor.onblur = () => light(0);
  cursor.onkeydown = (event) => {
    const [rows, cols] = gridHere();
    const [row, col] = [Math.floor(keyPatch / cols), keyPatch % cols];
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (moves[event.key]) {
      const [down, right] = moves[event.key];
      const to = [Math.min(rows - 1, Math.max(0, row + down)), Math.min(cols - 1, Math.max(0, col + right))];
      keyPatch = to[0] * cols + to[1];
      light(0, keyPatch);
      const gone = leftHere()[keyPatch];
      const went = gone && gone <= at.stage ? `in ${data.one_package ? "the package" : `package ${gone}`}` : "kept";
      find(".patch-said").textContent = `Row ${to[0] + 1}, column ${to[1] + 1}: ${went}. Enter tells more.`;
    } else if (event.key === "Enter") pick(keyPatch);
    else if (event.key === "Escape") pick(null);
    else if (event.key === "Home" || event.key === "End") keyPatch = event.key === "Home" ? 0 : rows * cols - 1;
    else return;
    if (event.key === "Home" || event.key === "End") light(0, keyPatch);
    event.preventDefault();
    event.stopPropagation();
  };
  root.tabIndex = -1;
  root.onkeydown = (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || [keepInput, dimInput].includes(event.target)) return;
    const jumps = { ArrowLeft: at.stage - 1, ArrowRight: at.stage + 1, Home: 0, End: data.looks.length };
    if (event.key in jumps) jump(jumps[event.key]);
    else if (event.key === "Escape" && at.token !== null) pick(null);
    else if (event.key === " " && event.target.tagName !== "BUTTON") toggle();
    else return;
    event.preventDefault();
  };
  find(".play").onclick = toggle;
  find(".back").onclick = () => jump(at.stage - 1);
  find(".forth").onclick = () => jump(at.stage + 1);
  dimInput.value = dim;
  dimInput.oninput = () => {
    dim = Number(dimInput.value);
    draw(false);
  };
  const peek = (on) => {
    if (peeking === on) return;
    peeking = on;
    find(".peek").setAttribute("aria-pressed", on);
    draw(false);
  };
  const peekButton = find(".peek");
  peekButton.onpointerdown = (event) => {
    peekButton.setPointerCapture(event.pointerId);
    peek(true);
  };
  peekButton.onpointerup = peekButton.onpointercancel = peekButton.onblur = () => peek(false);
  peekButton.onkeydown = (event) => {
    if ([" ", "Enter"].includes(event.key)) peek(true); // no value: false would take the Tab key from the page
  };
  peekButton.onkeyup = () => peek(false);
  peekButton.oncontextmenu = (event) => event.preventDefault(); // a long press is no question
  stageInput.oninput = () => {
    pause(true);
    go(Number(stageInput.value));
  };
  stageInput.onchange = say;
  keepInput.oninput = () => {
    pause(true);
    dragging = true;
    at.keep = Number(keepInput.value);
    step = data.steps?.[at.keep.toFixed(2)] ?? step;
    write();
    writeKeep();
    draw(false);
  };
  // Whoever comes to the slider will move it: its pictures are asked for, once.
  keepInput.onpointerenter = keepInput.onfocus = () => {
    if (!data.tell || data.steps || wanted === data.photo) return;
    wanted = data.photo;
    turn += 1;
    root.player.tell({ ...at, turn, steps: true });
  };
  keepInput.onchange = () => {
    dragging = false;
    say();
  };

  // --- Python ----------------------------------------------------------------------------------------------------

  function build() {
    const line = find(".ticks");
    line.replaceChildren();
    for (const chip of root.querySelectorAll("button.chip")) chip.remove(); // also those of a player that has ended here
    chips.length = ticks.length = 0;
    const word = data.blocks.length > 4 ? "" : "Block "; // many stages leave room for numbers only
    ["Input", ...data.blocks.map((block) => `${word}${block + 1}`)].forEach((text, stage) => {
      const tick = document.createElement("button");
      tick.type = "button";
      tick.textContent = text;
      tick.title = stage ? `Selector ${stage}, before block ${data.blocks[stage - 1] + 1}` : "The input";
      tick.onclick = () => jump(stage);
      tick.onpointerenter = tick.onfocus = () => light(stage);
      tick.onpointerleave = tick.onblur = () => light(0);
      tick.style.setProperty("--place", stage / Math.max(1, data.blocks.length));
      if (stage) tick.style.setProperty("--chip", data.looks[stage - 1].colour);
      line.append(tick);
      ticks.push(tick);
    });
    data.looks.forEach((look, index) => {
      const chip = document.createElement("button");
      const swatch = document.createElement("img");
      const words = document.createElement("span");
      const title = document.createElement("b");
      const count = document.createElement("span");
      chip.type = "button";
      chip.className = "chip";
      chip.style.setProperty("--chip", look.colour);
      swatch.alt = "";
      swatch.width = swatch.height = 24;
      swatch.src = look.swatch;
      title.textContent = data.one_package ? `Into the package, ${index + 1}` : `Package ${index + 1}`;
      count.className = "count";
      words.append(title, count);
      chip.append(swatch, words);
      chip.onclick = () => {
        if (at.stage <= index) jump(index + 1);
        light(index + 1);
      };
      chip.onpointerenter = chip.onfocus = () => light(index + 1);
      chip.onpointerleave = chip.onblur = () => light(0);
      find(".chips").append(chip);
      chips.push(chip);
    });
    find(".class-token").style.display = data.prefix ? "" : "none";
    find(".class-token b").textContent = data.first;
    const several = data.prefix > 1 && !/\d/.test(data.first); // a name that says how many says it once
    find(".class-token .count").textContent = several ? `${data.prefix} tokens, always kept` : "always kept";
    find(".picture").style.aspectRatio = `${data.grids[0][1]} / ${data.grids[0][0]}`;
  }

  // Python's answer to what it was told changes nothing here; a link, or the first view, does.
  function adopt() {
    const said = { stage: data.stage, token: data.token, keep: data.keep?.value ?? null };
    const key = JSON.stringify(said);
    const answered = told.findIndex((each) => JSON.stringify(each) === key);
    if (answered >= 0) told.splice(0, answered + 1);
    else if (JSON.stringify(heard) !== key) {
      Object.assign(at, said);
      told = [];
    }
    heard = said;
  }

  function receive(fresh) {
    const before = data;
    data = fresh;
    root.classList.toggle("beside", Boolean(data.beside));
    find(".original").hidden = !data.beside;
    if (data.beside && find(".original").src !== data.photo) find(".original").src = data.photo;
    const shape = (each) => JSON.stringify([each.grids, each.on, each.blocks, each.looks, each.prefix, each.first]);
    if (!before || shape(before) !== shape(data)) build();
    adopt();
    toPlay ??= data.autoplay;
    if (!step || (!dragging && (!data.keep || data.keep.value === at.keep))) step = data.now;
    at.stage = Math.min(at.stage, data.looks.length);
    if (at.token !== null && at.token >= leftHere().length) at.token = null;
    write();
    writeKeep();
    if (before?.photo === data.photo) draw(fadeStart === null && before.rev !== data.rev ? false : undefined);
    else {
      flown = new Set();
      delete root.dataset.flown;
      const next = new Image();
      next.onload = () => {
        if (data.photo !== next.src) return;
        photo = next;
        draw(false);
        if (toPlay && !calm() && firstView()) timer = setTimeout(() => play(0), PER_STAGE_MS);
        toPlay = false;
      };
      next.src = data.photo;
    }
  }

  const watch = new ResizeObserver(() => draw());
  watch.observe(find(".picture"));
  root.player = {
    tell: () => {},
    receive,
    end() {
      watch.disconnect();
      cancelAnimationFrame(frame);
      clearTimeout(timer);
    },
  };
  return root.player;
}
