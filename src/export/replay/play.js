// What moves: playing, the cursor, keys and pointer.

// Playing: a token comes when the one before has stood as long as it took.
function tick(now) {
  if (!state.playing) return;
  // A page that was not seen does not catch up.
  if (now - state.due > 1000) state.due = now;
  let isNew = false;
  while (state.due <= now && state.shown < count) {
    state.due += clamp(run.tokens[state.shown].ms || 0, ...PACE) / 2 ** state.power;
    state.shown += 1;
    isNew = true;
  }
  if (isNew && state.follow) state.token = newest();
  if (state.shown >= count) state.playing = false;
  if (isNew) refresh(state.follow);
  if (state.playing) requestAnimationFrame(tick);
}
function play() {
  state.playing = count > 0;
  state.part = null;
  state.due = performance.now();
  if (state.shown >= count) state.shown = 0;
  state.follow = true;
  state.token = Math.max(0, newest());
  requestAnimationFrame(tick);
}
function showTokens(shown, part = null) {
  state.playing = false;
  state.shown = clamp(shown, 0, count);
  state.part = part;
  state.follow = true;
  state.token = clamp(newest(), 0, Math.max(0, prompt + count - 1));
}
// Along the layers of the newest token, and on into the next one.
function showLayers(by) {
  const layer = state.part ?? layers;
  if (by > 0 && layer >= layers) { if (state.shown < count) showTokens(state.shown + 1, 1); }
  else if (by < 0 && layer <= 1) { if (state.shown > 0) showTokens(state.shown - 1); }
  else if (state.shown > 0) showTokens(state.shown, layer + by >= layers ? null : layer + by);
  if (state.shown > 0) state.layer = clamp((state.part ?? layers) - 1, 0, layers - 1);
}
function moveTo(token, layer) {
  state.follow = false;
  state.layer = clamp(layer, 0, Math.max(0, layers - 1));
  state.token = clamp(token, 0, Math.max(0, newest()));
}
const move = (units, by) => moveTo(position(Math.max(0, unit(state.token) + units)), state.layer + by);
const along = (tape, map) => () => state.map ? move(...map) : move(...tape);
const page = (by) => () => {
  const g = geometry();
  move(by * (state.map ? g.columns - 1 : lines(g) - 1), 0);
};

// Decisions that a router had a say in, the least sure first.
let doubtful = null;
function nextDoubtful() {
  if (!doubtful) {
    doubtful = [];
    for (let p = Math.max(0, prompt - 1); p < prompt + count; p++) {
      for (let layer = 0; layer < layers; layer++) {
        const d = decision(p, layer);
        if (!d.chances || !["router", "dial", "budget"].includes(d.by)) continue;
        const [a, b] = [...d.chances].sort((a, b) => b - a);
        doubtful.push([a - b, p, layer]);
      }
    }
    doubtful.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  }
  const seen = doubtful.filter(([, p]) => p <= newest());
  if (!seen.length) return;
  const [, p, layer] = seen[state.sure % seen.length];
  state.sure += 1;
  moveTo(p, layer);
}

const help = byId("help");
const actions = {
  " ": () => { if (state.playing) state.playing = false; else play(); },
  ".": () => showTokens(state.shown + (state.part === null ? 1 : 0)),
  ",": () => showTokens(state.shown - 1),
  "}": () => showLayers(1),
  "{": () => showLayers(-1),
  ">": () => { state.power = Math.min(6, state.power + 1); },
  "<": () => { state.power = Math.max(-4, state.power - 1); },
  ArrowUp: along([-1, 0], [0, 1]),
  ArrowDown: along([1, 0], [0, -1]),
  ArrowLeft: along([0, -1], [-1, 0]),
  ArrowRight: along([0, 1], [1, 0]),
  PageUp: page(-1),
  PageDown: page(1),
  Home: () => moveTo(folded() ? prompt - 1 : 0, state.layer),
  End: () => moveTo(newest(), state.layer),
  g: () => moveTo(state.token, layers - 1),
  G: () => moveTo(state.token, 0),
  f: () => { state.follow = true; state.token = Math.max(0, newest()); },
  u: nextDoubtful,
  m: () => { state.mode = (state.mode + 1) % MODES.length; },
  z: () => { state.size = (state.size + 1) % SIZES.length; },
  Z: () => { state.map = !state.map; },
  P: () => { state.folded = !state.folded; },
  J: () => at.focus(),
  "?": () => { if (help.open) help.close(); else help.showModal(); },
};
Object.assign(actions, {
  k: actions.ArrowUp, j: actions.ArrowDown, h: actions.ArrowLeft, l: actions.ArrowRight, H: actions.PageUp,
  L: actions.PageDown, 0: actions.Home, $: actions.End, F1: actions["?"],
});
function act(key) {
  actions[key]();
  refresh();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(actions, event.key)) return;
  // What has the focus keeps the keys that are its own.
  const own = event.target.closest("button, summary") ? [" "] : event.target === at ? ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"] : [];
  if (own.includes(event.key) || (help.open && !["?", "F1"].includes(event.key))) return;
  event.preventDefault();
  act(event.key);
});
canvas.addEventListener("click", (event) => {
  const g = geometry();
  const n = Math.floor(state.map ? (event.offsetX - g.left + view.scrollLeft) / g.column : (event.offsetY - g.top + view.scrollTop) / g.line);
  const layer = state.map ? layers - 1 - Math.floor((event.offsetY - g.bars) / g.row) : Math.floor((event.offsetX - g.cells) / g.cell);
  if (n < 0 || n >= units()) return;
  moveTo(position(n), layer >= 0 && layer < layers ? layer : state.layer);
  view.focus({ preventScroll: true });
  refresh();
});
view.addEventListener("scroll", () => {
  if (Math.abs(view.scrollLeft - scrolled[0]) >= 1 || Math.abs(view.scrollTop - scrolled[1]) >= 1) state.follow = false;
  refresh(false);
});
const follows = (spans, first) => (event) => {
  const n = spans.indexOf(event.target);
  if (n < 0) return;
  moveTo(first + n, state.layer);
  refresh();
};
byId("answer").addEventListener("click", follows(answer, prompt));
byId("prompt").addEventListener("click", follows(asked, 0));
at.addEventListener("input", () => { showTokens(Number(at.value)); refresh(); });
for (const button of document.querySelectorAll("button[data-key]")) button.addEventListener("click", () => act(button.dataset.key));
byId("close").addEventListener("click", () => help.close());
new ResizeObserver(() => refresh()).observe(view);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); refresh(false); });

at.max = count;
const depths = run.tokens.map((token) => token.depth), least = Math.min(...depths), most = Math.max(...depths);
run.tokens.forEach(({ depth }, n) => answer[n].style.setProperty("--saved", most > least ? (most - depth) / (most - least) : 0));
// Slow enough to be read: a recording's own pace may be a hundred tokens a second.
const pace = run.tokens.map(({ ms }) => clamp(ms || 0, ...PACE)).sort((a, b) => a - b)[count >> 1] || PACE[1];
while (pace / 2 ** state.power < 100) state.power -= 1;
for (const id of ["bar", "view", "detail"]) byId(id).hidden = false;
readColours();
if (state.playing) play();
refresh();
