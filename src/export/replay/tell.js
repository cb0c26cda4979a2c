// What the page says in words: status, detail, answer.

function tellStatus() {
  const speed = state.power < 0 ? `×1/${2 ** -state.power}` : `×${2 ** state.power}`;
  const layer = state.part === null ? "" : `, layer ${state.part} of ${layers}`;
  status.textContent = `${state.playing ? "playing" : "held"} ${state.shown} of ${count}${layer} · ${speed} · ${MODES[state.mode]}`;
  byId("play").textContent = state.playing ? "‖ hold" : "▶ play";
  byId("tape-or-map").textContent = state.map ? "tape" : "map";
  at.value = state.shown;
  at.setAttribute("aria-valuetext", `token ${state.shown} of ${count}`);
  view.setAttribute("aria-label", state.map ? "Map: layers × tokens" : "Tape: tokens × layers");
  Object.assign(view.dataset, { token: state.token, layer: state.layer, shown: state.shown, view: state.map ? "map" : "tape" });
  for (const legend of document.querySelectorAll("#legend p")) legend.hidden = legend.dataset.mode !== MODES[state.mode];
}

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}
function chance(name, share, text, kind, taken) {
  const row = element("div", undefined, taken ? "chance taken" : "chance");
  const gauge = element("div", undefined, "gauge"), fill = element("i", undefined, kind);
  fill.style.width = `${share * 100}%`;
  gauge.append(fill);
  row.append(element("span", name, "word"), gauge, element("span", text));
  return row;
}
function tellDetail() {
  // Whoever listens is not interrupted by every token that plays.
  detail.setAttribute("aria-live", state.playing ? "off" : "polite");
  const t = count + prompt > 0 && token(state.token);
  if (!t) return detail.replaceChildren(element("p", "The run has no tokens."));
  const d = decision(state.token, state.layer), part = state.token < prompt ? "Prompt token" : "Token";
  const number = state.token < prompt ? state.token + 1 : state.token - prompt + 1;
  const saved = layers - t.depth;
  const told = [
    element("p", `${part} ${number} ${quoted(t.text)}`, "name"),
    element("p", `depth ${t.depth} of ${layers}${saved > 0 ? `, ${saved} saved` : saved < 0 ? `, ${-saved} more` : ""}` +
      `${t.ms === undefined ? "" : ` · ${t.ms.toFixed(1)} ms`} · id ${t.id} · position ${state.token}`, "muted"),
    element("p", `${layerName(state.layer)}: ${DONE[d.action]} by ${BY[d.by]}`),
  ];
  if (d.chances) {
    const shares = d.chances.map((c) => c / 1000), sorted = [...shares].sort((a, b) => b - a);
    const entropy = shares.reduce((sum, p) => p > 0 ? sum - p * Math.log2(p) : sum, 0);
    told.push(...ACTIONS.map((name, n) => chance(name, shares[n], shares[n].toFixed(3), name, n === d.action)));
    told.push(element("p", `margin ${(sorted[0] - sorted[1]).toFixed(3)} · entropy ${entropy.toFixed(2)} bit`, "muted"));
  } else {
    told.push(element("p", "no router was asked here", "muted"));
  }
  if (d.other !== null) {
    const line = element("p", `≠ router and dial would ${ACTIONS[d.other]} here`);
    line.id = "other";
    told.push(line);
  }
  const program = element("p", "program ", "muted"), text = state.token < prompt ? run.prompt.program : t.program;
  program.append(element("span", text || "empty", "program"));
  told.push(program);
  const coming = next(state.token), came = run.tokens[state.token + 1 - prompt];
  if (coming.length) {
    told.push(element("p", "likeliest next", "muted"));
    told.push(...coming.map(([text, p]) => chance(quoted(text), p, p.toFixed(2), "", came !== undefined && came.text === text)));
  }
  detail.replaceChildren(...told);
}

let before = { shown: count, here: null };
function showAnswer() {
  for (let n = Math.min(before.shown, state.shown); n < Math.max(before.shown, state.shown); n++) answer[n].hidden = n >= state.shown;
  const here = state.token < prompt ? asked[state.token] : answer[state.token - prompt];
  if (here !== before.here) {
    before.here?.classList.remove("here");
    here?.classList.add("here");
    const box = byId("answer"), top = here ? here.offsetTop - box.offsetTop : 0;
    if (here && state.token >= prompt && (top < box.scrollTop || top + here.offsetHeight > box.scrollTop + box.clientHeight)) {
      box.scrollTop = top - box.clientHeight / 2;
    }
  }
  before = { shown: state.shown, here };
}
