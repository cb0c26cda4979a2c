// Drawing: the tape and the map.

let colours = {};
function readColours() {
  const style = getComputedStyle(canvas);
  const names = ["text", "muted", "line", "cursor", "ground", "skip", "execute", "repeat", "other", ...deciders];
  colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
}

// Where everything is, in pixels.
function geometry() {
  const scale = SIZES[state.size], width = view.clientWidth, height = view.clientHeight;
  const letter = 8 * scale, line = 20 * scale, edge = 8;
  if (state.map) {
    const left = edge + 5.5 * letter, tokens = 9 * letter, bars = 36;
    const all = (folded() ? 1 : prompt) + count;
    const column = clamp(Math.floor((width - left - edge) / all), 13, 24) * scale, row = clamp(Math.floor((height - bars - tokens - edge) / layers), 3, 22);
    return { scale, width, height, letter, left, bars, column, row, columns: Math.floor((width - left) / column) };
  }
  const word = clamp(Math.floor(width / letter / 5), 7, 16);
  const cells = edge + (word + 1) * letter, behind = 4 * letter;
  const deepest = Math.min(10, layers) * letter * .75;
  const cell = clamp(Math.floor(width - cells - behind - deepest - edge) / layers, 1.5, 14 * scale);
  const wide = cell >= 4 ? Math.floor(cell) : cell, end = cells + layers * wide;
  const saved = end + behind, beside = saved + deepest + letter;
  return { scale, width, height, letter, line, top: line * 1.2, word, cells, cell: wide, end, saved, deepest, beside };
}
const font = (scale) => `${13 * scale}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace`;
const lines = (g) => Math.max(1, Math.floor((g.height - g.top) / g.line));

function put(text, x, y, colour, align = "left") {
  pen.fillStyle = colours[colour];
  pen.textAlign = align;
  pen.fillText(text, x, y);
}
// As much of a text as there is room for.
function fit(text, room) {
  if (pen.measureText(text).width <= room) return text;
  const letters = Array.from(text.slice(0, 80));
  while (letters.length && pen.measureText(letters.join("") + "…").width > room) letters.pop();
  return letters.join("") + "…";
}

function drawCell(d, x, y, w, h) {
  const sure = confidence(d), mode = MODES[state.mode];
  const wide = Math.max(1, w - (w >= 4 ? 1 : 0));
  if (mode === "decisions") {
    // A third says nothing; the field of executions stays quiet, so that the holes are what is seen.
    const strength = sure === null ? 1 : clamp(.3 + .7 * (sure - 1 / 3) * 1.5, .3, 1);
    pen.fillStyle = colours[ACTIONS[d.action]];
    pen.globalAlpha = d.action === 1 ? .55 + .45 * strength : d.action === 0 ? .5 + .5 * strength : strength;
    const point = clamp(Math.min(wide, h) / 5, Math.min(2, wide), 4);
    if (d.action === 0) pen.fillRect(x + (wide - point) / 2, y + (h - point) / 2, point, point);
    else pen.fillRect(x, y, wide, h);
    pen.globalAlpha = 1;
    if (d.other !== null) {
      pen.fillStyle = colours.other;
      pen.beginPath();
      const size = Math.min(wide, h, 5);
      pen.moveTo(x + wide, y); pen.lineTo(x + wide, y + size); pen.lineTo(x + wide - size, y);
      pen.fill();
    }
    if (d.by === "pin") {
      pen.strokeStyle = colours.pin;
      pen.lineWidth = 1.5;
      pen.strokeRect(x + .75, y + .75, Math.max(1, wide - 1.5), h - 1.5);
      pen.lineWidth = 1;
    }
    return;
  }
  const isSure = mode === "confidence";
  pen.fillStyle = isSure ? colours[ACTIONS[d.action]] : colours[d.by];
  pen.globalAlpha = isSure ? (sure === null ? .1 : clamp((sure - 1 / 3) * 1.5, .08, 1)) : d.action === 0 ? .35 : .8;
  pen.fillRect(x, y, wide, h);
  pen.globalAlpha = 1;
  if (wide >= 8 && h >= 9) {
    pen.font = `${Math.min(11, h - 1) * (state.map ? 1 : SIZES[state.size])}px ui-monospace, monospace`;
    const sign = isSure ? (sure === null ? "-" : Math.min(9, Math.floor(sure * 10))) : (d.by === "pin" ? "P" : d.by === "program" ? "·" : d.by[0]);
    put(String(sign), x + wide / 2, y + h / 2 + 1, "text", "center");
    pen.font = font(SIZES[state.size]);
  }
}

function drawTape(g) {
  const top = view.scrollTop, first = Math.floor(top / g.line), all = units();
  for (let n = first; n < all; n++) {
    const y = g.top + n * g.line - top;
    if (y > g.height) break;
    const here = unit(state.token) === n, p = position(n), t = token(p);
    if (here) {
      pen.fillStyle = colours.cursor;
      pen.fillRect(0, y, g.width, g.line);
    }
    const middle = y + g.line / 2;
    put(fit(label(n), g.word * g.letter), g.cells - g.letter, middle, isPrompt(n) || t.special ? "muted" : "text", "right");
    for (let layer = 0; layer < reached(p); layer++) {
      drawCell(decision(p, layer), g.cells + layer * g.cell, y + 3, g.cell, g.line - 6);
    }
    if (here) {
      pen.strokeStyle = colours.text;
      pen.strokeRect(g.cells + state.layer * g.cell - .5, y + 1.5, Math.max(3, g.cell), g.line - 3);
    }
    if (reached(p) < layers) continue;
    put(String(t.depth), g.end + 3 * g.letter, middle, t.depth === layers ? "muted" : "text", "right");
    const saved = layers - t.depth;
    pen.fillStyle = colours[saved < 0 ? "repeat" : "skip"];
    const most = Math.max(10, layers / 2);
    pen.fillRect(g.saved, middle - 1.5, Math.min(1, Math.abs(saved) / most) * g.deepest, 3);
    drawNext(g, p, middle);
  }
  pen.fillStyle = colours.ground;
  pen.fillRect(0, 0, g.width, g.top);
  layerNumbers(g);
  put("ran", g.end + 3 * g.letter, g.top / 2, "muted", "right");
  if (g.width > g.saved + 5 * g.letter) put("saved", g.saved, g.top / 2, "muted");
  if (g.width > g.beside + 12 * g.letter && run.hasNext) put("next", g.beside, g.top / 2, "muted");
}

// The likeliest next tokens, as many as there is room for.
function drawNext(g, p, y) {
  let x = g.beside;
  for (const [n, [text, chance]] of next(p).entries()) {
    const width = 9 * g.letter, number = 5 * g.letter;
    if (x + width + number > g.width - 4) return;
    put(fit(oneLine(text), width - g.letter), x, y, n === 0 ? "text" : "muted");
    put(chance.toFixed(2), x + width + number - g.letter, y, "muted", "right");
    x += width + number + g.letter;
  }
}

// Every fifth layer's number, of a looped model the iterations, and the cursor's.
function layerNumbers(g) {
  const y = g.top / 2, x = (layer) => g.cells + layer * g.cell;
  const step = g.cell * 5 >= 2.5 * g.letter ? 5 : 10;
  if (loop) {
    for (let k = 1; k <= loop.iterations; k++) {
      const from = loop.first + (k - 1) * loop.layers, to = from + loop.layers;
      pen.fillStyle = colours.line;
      pen.fillRect(x(from) + 1, g.top - 4, x(to) - x(from) - 2, 2);
      put(String(k), (x(from) + x(to)) / 2, y, "muted", "center");
    }
  } else {
    for (let layer = 0; layer < layers; layer += step) {
      if (Math.abs(layer - state.layer) * g.cell > 2 * g.letter) put(String(layer), x(layer), y, "muted");
    }
    put(String(state.layer), x(state.layer), y, "text");
  }
}

function drawMap(g) {
  const left = view.scrollLeft, all = units(), foot = g.bars + layers * g.row;
  const first = Math.floor(left / g.column);
  for (let n = first; n < all; n++) {
    const x = g.left + n * g.column - left;
    if (x > g.width) break;
    const p = position(n), t = token(p), here = unit(state.token) === n;
    if (here) {
      pen.fillStyle = colours.cursor;
      pen.fillRect(x - 1, 0, g.column, g.height);
    }
    for (let layer = 0; layer < reached(p); layer++) {
      drawCell(decision(p, layer), x, g.bars + (layers - 1 - layer) * g.row, g.column, g.row - (g.row > 5 ? 1 : 0));
    }
    if (here) {
      pen.strokeStyle = colours.text;
      pen.strokeRect(x - .5, g.bars + (layers - 1 - state.layer) * g.row - .5, g.column, g.row);
    }
    if (reached(p) === layers) {
      const saved = layers - t.depth;
      pen.fillStyle = colours[saved < 0 ? "repeat" : "skip"];
      pen.fillRect(x, 4, g.column - 2, 1.5 + Math.min(1, Math.abs(saved) / Math.max(1, layers / 2)) * (g.bars - 10));
    }
    pen.save();
    pen.translate(x + g.column / 2, foot + 6);
    pen.rotate(Math.PI / 2);
    put(fit(label(n), g.height - foot - 10), 0, 0, isPrompt(n) || t.special ? "muted" : "text");
    pen.restore();
    if (p === prompt - 1) {
      pen.fillStyle = colours.line;
      pen.fillRect(x + g.column - 1.5, 0, 1, foot);
    }
  }
  pen.fillStyle = colours.ground;
  pen.fillRect(0, 0, g.left - 2, g.height);
  const step = g.row * 5 >= 12 * g.scale ? 5 : 10, y = (layer) => g.bars + (layers - .5 - layer) * g.row;
  put("saved", g.left - 8, 9, "muted", "right");
  for (let layer = 0; layer < layers; layer++) {
    const [, iteration] = execution(layer);
    const isFirst = loop && iteration > 0 && layer === loop.first + (iteration - 1) * loop.layers;
    const text = layer === state.layer ? String(layer) : isFirst ? `╰${iteration}` : loop ? "" : layer % step === 0 ? String(layer) : "";
    const isClose = Math.abs(layer - state.layer) * g.row < 12 * g.scale;
    if (text && (layer === state.layer || !isClose)) put(text, g.left - 8, y(layer), layer === state.layer ? "text" : "muted", "right");
  }
}

let scrolled = [0, 0];
function scrollTo(x, y) {
  if (Math.abs(view.scrollLeft - x) >= 1) view.scrollLeft = x;
  if (Math.abs(view.scrollTop - y) >= 1) view.scrollTop = y;
  scrolled = [view.scrollLeft, view.scrollTop];
}
// The cursor into sight.
function reveal(g) {
  const n = unit(state.token);
  if (state.map) {
    const room = g.width - g.left - g.column;
    const from = n * g.column - room, to = n * g.column;
    return scrollTo(clamp(view.scrollLeft, Math.max(0, from), to), 0);
  }
  const room = (lines(g) - 1) * g.line;
  scrollTo(0, clamp(view.scrollTop, Math.max(0, n * g.line - room), n * g.line));
}

let due = false, toReveal = true;
function draw() {
  due = false;
  const g = geometry(), scale = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(g.width * scale), Math.round(g.height * scale)];
  if (canvas.width !== w || canvas.height !== h) {
    [canvas.width, canvas.height] = [w, h];
    [canvas.style.width, canvas.style.height] = [`${g.width}px`, `${g.height}px`];
  }
  content.style.width = state.map ? `${Math.max(g.width, g.left + units() * g.column + 8)}px` : "100%";
  content.style.height = state.map ? `${g.height}px` : `${g.height + Math.max(0, units() - lines(g)) * g.line}px`;
  if (toReveal) reveal(g);
  toReveal = false;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, g.width, g.height);
  pen.font = font(g.scale);
  pen.textBaseline = "middle";
  if (state.map) drawMap(g);
  else drawTape(g);
  tellStatus();
  tellDetail();
  showAnswer();
}
function refresh(isMoved = true) {
  toReveal ||= isMoved;
  if (!due) requestAnimationFrame(draw);
  due = true;
}
