// Drawing for the token player: one stage of one trace on a canvas. The encoding is that of viz/tokens.py.

const DARK_NOW = 0.45;
const TINT_NOW = 0.35;
const DARK_EARLIER = 0.6;
const USUAL_DIM = 0.5; // at which these hold; at 0 nothing is darkened, at 1 what left earlier is black
const INK = "#111827";

const shade = (colour, share) => {
  const parts = [1, 3, 5].map((at) => Math.round(parseInt(colour.slice(at, at + 2), 16) * share));
  return `rgb(${parts.join(" ")})`;
};

// One cell of a hatch, so made that neighbouring cells join.
function hatchTile(shape, colour, cell, lines, width) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = cell;
  const pen = tile.getContext("2d");
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  for (let at = -lines; at <= 2 * lines; at += 1) {
    const x = (at * cell) / lines;
    if (shape === "\\" || shape === "x") {
      pen.moveTo(x - cell, -cell);
      pen.lineTo(x + 2 * cell, 2 * cell);
    }
    if (shape === "/" || shape === "x") {
      pen.moveTo(x - cell, 2 * cell);
      pen.lineTo(x + 2 * cell, -cell);
    }
    const middle = x + cell / lines / 2;
    if (shape === "-" || shape === "+") {
      pen.moveTo(-cell, middle);
      pen.lineTo(2 * cell, middle);
    }
    if (shape === "|" || shape === "+") {
      pen.moveTo(middle, -cell);
      pen.lineTo(middle, 2 * cell);
    }
  }
  pen.stroke();
  return tile;
}

const linesIn = (cell, ratio, apart) => Math.min(4, Math.max(1, Math.round(cell / ratio / apart)));

function cellsOf(scene, wanted) {
  const path = new Path2D();
  scene.step.left.forEach((left, patch) => {
    if (wanted(left, patch)) path.rect(...boxOf(scene, patch));
  });
  return path;
}

function boxOf(scene, patch) {
  const row = Math.floor(patch / scene.cols);
  return [(patch - row * scene.cols) * scene.cell, row * scene.cell, scene.cell, scene.cell];
}

// At its usual darkness an alpha is itself; below it goes down to 0, above it up to 1.
const dimmed = (alpha, dim) =>
  dim <= USUAL_DIM ? (alpha * dim) / USUAL_DIM : alpha + ((1 - alpha) * (dim - USUAL_DIM)) / (1 - USUAL_DIM);

// A line where kept patches meet others, light with a dark edge: it reads on any photo.
function paintEdge(pen, scene, stage) {
  const { rows, cols, cell, ratio, step } = scene;
  const gone = (row, col) => step.left[row * cols + col] > 0 && step.left[row * cols + col] <= stage;
  const edge = new Path2D();
  for (let row = 0; row < rows; row += 1) {
    for (let col = 0; col < cols; col += 1) {
      const [x, y] = [col * cell, row * cell];
      if (col && gone(row, col) !== gone(row, col - 1)) {
        edge.moveTo(x, y);
        edge.lineTo(x, y + cell);
      }
      if (row && gone(row, col) !== gone(row - 1, col)) {
        edge.moveTo(x, y);
        edge.lineTo(x + cell, y);
      }
    }
  }
  pen.lineCap = "square";
  for (const [colour, width] of [[INK, 3], ["#FFFFFF", 1.5]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width * ratio;
    pen.stroke(edge);
  }
}

// scene: photo, rows, cols, cell (device pixels), ratio (of device to CSS pixels), looks, step { left, weight }, dim
function paintStage(pen, scene, stage) {
  const { photo, rows, cols, cell, ratio, looks, dim } = scene;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(photo, 0, 0, cols * cell, rows * cell);
  for (let selector = 1; selector <= stage; selector += 1) {
    const look = looks[selector - 1];
    const cells = cellsOf(scene, (left) => left === selector);
    const now = selector === stage;
    pen.fillStyle = `rgb(0 0 0 / ${dimmed(now ? DARK_NOW : DARK_EARLIER, dim)})`;
    pen.fill(cells);
    if (now) {
      pen.globalAlpha = dimmed(TINT_NOW, Math.min(dim, USUAL_DIM));
      pen.fillStyle = shade(look.colour, 0.75);
      pen.fill(cells);
      pen.globalAlpha = 1;
    }
    const lines = linesIn(cell, ratio, now ? 17 : 24);
    const colour = now ? look.colour : shade(look.colour, 0.85);
    const tile = hatchTile(look.hatch, colour, cell, lines, (now ? 2.4 : 1.2) * ratio);
    pen.fillStyle = pen.createPattern(tile, "repeat");
    pen.globalAlpha = now ? 1 : 0.65;
    pen.fill(cells);
    pen.globalAlpha = 1;
  }
  paintEdge(pen, scene, stage);
}

// The members of one package, as bright as they weigh in it; all else steps back.
function paintMembers(pen, scene, selector) {
  const { photo, rows, cols, cell, ratio, looks, step } = scene;
  const look = looks[selector - 1];
  pen.fillStyle = "rgb(0 0 0 / 0.62)";
  pen.fill(cellsOf(scene, (left) => left !== selector));
  const heaviest = Math.max(...step.weight.filter((_, patch) => step.left[patch] === selector));
  const across = photo.naturalWidth / cols;
  const down = photo.naturalHeight / rows;
  const hatch = pen.createPattern(hatchTile(look.hatch, INK, cell, linesIn(cell, ratio, 17), 1.6 * ratio), "repeat");
  step.left.forEach((left, patch) => {
    if (left !== selector) return;
    const [x, y] = boxOf(scene, patch);
    const share = heaviest > 0 ? step.weight[patch] / heaviest : 0;
    pen.drawImage(photo, (x / cell) * across, (y / cell) * down, across, down, x, y, cell, cell);
    pen.fillStyle = `rgb(0 0 0 / ${0.75 * (1 - share)})`;
    pen.fillRect(x, y, cell, cell);
    pen.globalAlpha = 0.12 + 0.63 * share;
    pen.fillStyle = look.colour;
    pen.fillRect(x, y, cell, cell);
    pen.globalAlpha = 0.35 + 0.4 * share;
    pen.fillStyle = hatch;
    pen.fillRect(x, y, cell, cell);
    pen.globalAlpha = 1;
  });
}

// A frame that reads on any photo: white with a dark edge on both sides.
function paintFrame(pen, scene, patch, width) {
  const [x, y, side] = boxOf(scene, patch);
  const line = width * scene.ratio;
  pen.strokeStyle = INK;
  pen.lineWidth = line * 2;
  pen.strokeRect(x + line, y + line, side - 2 * line, side - 2 * line);
  pen.strokeStyle = "#FFFFFF";
  pen.lineWidth = line;
  pen.strokeRect(x + line, y + line, side - 2 * line, side - 2 * line);
}
