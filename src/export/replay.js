"use strict";
// The tape, replayed: a line a token, its layers from left to right, its depth, the layers it saved.
(() => {
  const run = JSON.parse(document.getElementById("run").textContent);
  const canvas = document.getElementById("tape");
  const detail = document.getElementById("detail");
  const status = document.getElementById("status");
  const pen = canvas.getContext("2d");
  const LINE = 20, EDGE = 10, TOP = 24, WORD = 15, LETTER = 8;
  const ACTIONS = ["skipped", "executed", "repeated"];
  const count = run.tokens.length;
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const state = { shown: still ? count : Math.min(1, count), token: 0, layer: 0, first: 0, playing: !still, speed: 1, follow: !still };
  const pace = run.tokens.map((token) => token.ms || 0).filter((ms) => ms > 0).sort((a, b) => a - b);
  const usual = pace.length ? pace[pace.length >> 1] : 100;
  // Slow enough to be seen, in halves of the recording's own pace.
  while (usual / state.speed < 150 && state.speed > 1 / 64) state.speed /= 2;
  let timer = 0;

  const clamp = (x, low, high) => Math.max(low, Math.min(high, x));
  const colour = (name) => getComputedStyle(canvas).getPropertyValue("--" + name).trim();
  const lines = () => Math.max(1, Math.floor((canvas.clientHeight - TOP - EDGE) / LINE));
  const cell = () => {
    const room = canvas.clientWidth - 2 * EDGE - (WORD + 1 + 5) * LETTER - 6 * LETTER;
    return clamp(Math.floor(room / run.layers), 2, 14);
  };
  const cells = EDGE + (WORD + 1) * LETTER;

  function word(text) {
    const shown = text.trim() === "" ? (text.includes("\n") ? "⏎" : "␣") : text.trim().replaceAll("\n", "⏎");
    const letters = Array.from(shown);
    return letters.length > WORD ? letters.slice(0, WORD - 1).join("") + "…" : shown;
  }

  function draw() {
    const scale = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "13px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace";
    pen.textBaseline = "middle";
    const wide = cell(), end = cells + run.layers * wide;
    const put = (text, x, y, name, align) => {
      pen.fillStyle = colour(name);
      pen.textAlign = align;
      pen.fillText(text, x, y);
    };
    const step = wide >= 6 ? 5 : 10;
    for (let layer = 0; layer < run.layers; layer += step) put(String(layer), cells + layer * wide, TOP / 2, "muted", "left");
    put("saved", end + 5 * LETTER, TOP / 2, "muted", "left");
    const room = lines();
    if (state.follow) state.first = Math.max(0, state.shown - room);
    state.first = clamp(state.first, 0, Math.max(0, state.shown - room));
    for (let line = 0; line < room; line++) {
      const at = state.first + line;
      if (at >= state.shown) break;
      const token = run.tokens[at], y = TOP + line * LINE;
      if (at === state.token) {
        pen.fillStyle = colour("cursor");
        pen.fillRect(0, y, width, LINE);
      }
      put(word(token.text), cells - LETTER, y + LINE / 2, "text", "right");
      for (let layer = 0; layer < run.layers; layer++) {
        const action = Number(token.actions[layer]), x = cells + layer * wide;
        pen.fillStyle = colour(["skip", "execute", "repeat"][action]);
        if (action === 0) pen.fillRect(x + wide / 2 - 1, y + LINE / 2 - 1, 2, 2);
        else pen.fillRect(x, y + 3, Math.max(1, wide - 1), LINE - 6);
        if (token.by[layer] === "pin") {
          pen.strokeStyle = colour("pin");
          pen.strokeRect(x + 0.5, y + 3.5, Math.max(1, wide - 2), LINE - 7);
        }
      }
      if (at === state.token) {
        pen.strokeStyle = colour("text");
        pen.strokeRect(cells + state.layer * wide - 0.5, y + 1.5, wide, LINE - 3);
      }
      put(String(token.depth), end + 4 * LETTER, y + LINE / 2, token.depth < run.layers ? "text" : "muted", "right");
      const saved = clamp(run.layers - token.depth, 0, 99);
      pen.fillStyle = colour("skip");
      pen.fillRect(end + 5 * LETTER, y + 9, Math.min(saved * LETTER, width - end - 5 * LETTER - EDGE), 3);
    }
    tell();
  }

  function tell() {
    const speed = state.speed < 1 ? `1/${1 / state.speed}` : String(state.speed);
    status.textContent = `${state.playing ? "playing" : "held"}: token ${state.shown} of ${count} · ${speed} × the run's own pace`;
    const token = run.tokens[state.token];
    if (!token) {
      detail.textContent = "The run has no answer.";
      return;
    }
    const action = ACTIONS[Number(token.actions[state.layer])], probabilities = token.probabilities[state.layer];
    const router = probabilities
      ? ` Router: skip ${probabilities[0]}, execute ${probabilities[1]}, repeat ${probabilities[2]}.`
      : "";
    detail.textContent =
      `Token ${state.token + 1}, “${token.text}”: ${token.depth} layers. ` +
      `Layer ${state.layer} was ${action}, decided by ${token.by[state.layer]}.${router}`;
  }

  function show(token) {
    state.token = clamp(token, 0, Math.max(0, state.shown - 1));
    if (state.token < state.first) state.first = state.token;
    if (state.token >= state.first + lines()) state.first = state.token - lines() + 1;
  }

  function plan() {
    clearTimeout(timer);
    if (!state.playing || state.shown >= count) {
      state.playing = false;
      return;
    }
    timer = setTimeout(() => {
      state.shown += 1;
      if (state.follow) state.token = state.shown - 1;
      draw();
      plan();
      draw();
    }, (run.tokens[state.shown].ms || usual) / state.speed);
  }

  function select(token, layer) {
    state.follow = false;
    state.layer = clamp(layer, 0, Math.max(0, run.layers - 1));
    show(token);
  }

  const actions = {
    " ": () => {
      state.playing = !state.playing;
      if (state.playing && state.shown >= count) state.shown = Math.min(1, count);
      if (state.playing) state.follow = true;
    },
    ArrowUp: () => select(state.token - 1, state.layer),
    ArrowDown: () => select(state.token + 1, state.layer),
    ArrowLeft: () => select(state.token, state.layer - 1),
    ArrowRight: () => select(state.token, state.layer + 1),
    PageUp: () => select(state.token - lines(), state.layer),
    PageDown: () => select(state.token + lines(), state.layer),
    Home: () => select(0, state.layer),
    End: () => select(count, state.layer),
    ".": () => {
      state.playing = false;
      state.shown = clamp(state.shown + 1, 0, count);
      select(state.shown - 1, state.layer);
    },
    ",": () => {
      state.playing = false;
      state.shown = clamp(state.shown - 1, Math.min(1, count), count);
      select(state.shown - 1, state.layer);
    },
    ">": () => { state.speed = Math.min(64, state.speed * 2); },
    "<": () => { state.speed = Math.max(1 / 64, state.speed / 2); },
    f: () => { state.follow = true; state.token = Math.max(0, state.shown - 1); },
  };
  Object.assign(actions, {
    k: actions.ArrowUp, j: actions.ArrowDown, h: actions.ArrowLeft, l: actions.ArrowRight,
    0: actions.Home, $: actions.End,
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
    plan();
    draw();
  });
  canvas.addEventListener("click", (event) => {
    const line = Math.floor((event.offsetY - TOP) / LINE);
    const layer = Math.floor((event.offsetX - cells) / cell());
    if (line < 0 || state.first + line >= state.shown) return;
    select(state.first + line, layer >= 0 && layer < run.layers ? layer : state.layer);
    draw();
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    state.follow = false;
    state.first += Math.sign(event.deltaY) * 3;
    draw();
  }, { passive: false });
  for (const button of document.querySelectorAll("button[data-key]")) {
    button.addEventListener("click", () => {
      actions[button.dataset.key]();
      plan();
      draw();
    });
  }
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  document.getElementById("replay").hidden = false;
  plan();
  draw();
})();
