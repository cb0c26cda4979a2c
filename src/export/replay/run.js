// A run, replayed: the tape (a line a token) or the map (a column a token), the detail at the cursor, the answer as it
// comes. Texts are set as text alone; the run stands in the page as JSON. The parts of this script are one block:
// run.js, draw.js, tell.js, play.js. This one: what is known of the run, and what is shown of it.
const byId = (id) => document.getElementById(id);
const run = JSON.parse(byId("run").textContent);
const [view, content, canvas, detail, status, at] = ["view", "content", "tape", "detail", "status", "at"].map(byId);
const pen = canvas.getContext("2d");
const answer = Array.from(byId("answer").children);
const asked = Array.from(byId("prompt").children);
const { layers, loop, deciders } = run;
const prompt = run.prompt.tokens.length, count = run.tokens.length;
const DONE = ["skipped", "executed", "repeated"], ACTIONS = ["skip", "execute", "repeat"];
const BY = { program: "the fixed program", router: "the router", predictor: "the predictor", dial: "the dial", budget: "the budget", pin: "a pin" };
const MODES = ["decisions", "confidence", "decided by"], SIZES = [1, 1.4, 1.9];
// Milliseconds that a token stands at speed 1, at least and at most.
const PACE = [25, 160];
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const state = {
  shown: still ? count : 0, part: null, token: still ? prompt : Math.max(0, prompt - 1), layer: 0, map: false, mode: 0, size: 0,
  folded: prompt > 0, follow: !still, playing: !still && count > 0, power: 0, due: 0, sure: 0,
};
const clamp = (x, low, high) => Math.max(low, Math.min(high, x));

// What is known of the token at a position; the prompt's tokens share their decisions.
const token = (position) => position < prompt ? run.prompt.tokens[position] : run.tokens[position - prompt];
const decisions = (position) => position < prompt ? run.prompt.decisions : token(position).decisions;
function decision(position, layer) {
  const all = decisions(position);
  const pin = position < prompt && token(position).pinned?.find(([pinned]) => pinned === layer);
  const action = pin ? pin[1] : Number(all.actions[layer]), shadow = all.shadow[layer];
  return {
    action, by: pin ? "pin" : deciders[all.by[layer]], chances: all.probabilities[layer],
    other: shadow === "-" || Number(shadow) === action ? null : Number(shadow),
  };
}
const next = (position) => position < prompt ? (position === prompt - 1 ? run.prompt.next : []) : token(position).next;
const confidence = ({ chances }) => chances && Math.max(...chances) / 1000;
const execution = (layer) => {
  if (!loop || layer < loop.first) return [layer, 0];
  const inside = layer - loop.first;
  if (inside >= loop.layers * loop.iterations) return [layer - loop.layers * (loop.iterations - 1), 0];
  return [loop.first + inside % loop.layers, Math.floor(inside / loop.layers) + 1];
};
const layerName = (layer) => {
  const [own, iteration] = execution(layer);
  if (!loop) return `Layer ${layer}`;
  return `Layer ${own}${iteration ? `, iteration ${iteration} of ${loop.iterations}` : ""} (execution ${layer})`;
};

// A line of the tape or a column of the map: a token, or the folded prompt.
const folded = () => state.folded && prompt > 0;
const units = () => (folded() ? 1 : prompt) + state.shown;
const unit = (position) => !folded() ? position : position < prompt ? 0 : position - prompt + 1;
const position = (unit) => !folded() ? unit : unit === 0 ? prompt - 1 : prompt + unit - 1;
const newest = () => prompt + state.shown - 1;
const isPrompt = (unit) => folded() && unit === 0;
// Layers of the newest token that are in sight.
const reached = (position) => position === newest() && state.part !== null ? state.part : layers;

function oneLine(text) {
  if (text === "") return "…";
  return text.trim() === "" ? (text.includes("\n") ? "⏎" : "␣") : text.trim().replaceAll("\n", "⏎");
}
const quoted = (text) => `“${text.replaceAll("\n", "⏎")}”`;
const label = (unit) => isPrompt(unit) ? `prompt ×${prompt}` : oneLine(token(position(unit)).text);
