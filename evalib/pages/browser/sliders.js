// The two sliders, each under a curve of accuracies: how sharply the network chooses, and how far it has been trained.

// A range input whose value a swipe that begins on it leaves as it was, for such a swipe scrolls the page. `stride(value,
// change)` is where an arrow key leads.
const sliding = (label, attributes, stride, changed) => {
  const node = make("input", { type: "range", "aria-label": label, ...attributes });
  let held = node.value;
  node.addEventListener("input", () => changed(Number(node.value)));
  node.addEventListener("pointerdown", () => { held = node.value; });
  node.addEventListener("pointercancel", () => { node.value = held; changed(Number(held)); });
  node.addEventListener("keydown", (event) => {
    const change = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!change) return;
    event.preventDefault();
    node.value = stride(Number(node.value), change);
    changed(Number(node.value));
  });
  return node;
};
// Buttons below a slider, each at its share of the width; `at` 0 and 1 keep within it.
const stopsBelow = (stops, chosen) => {
  const nodes = stops.map(({ at, title, lines }, s) => {
    const node = make("button", { type: "button", style: `left: ${100 * at}%` }, make("b", {}, title), ...lines.map((line) => make("small", {}, line)));
    if (at === 0) node.classList.add("first");
    if (at === 1) node.classList.add("last");
    node.addEventListener("click", () => chosen(s));
    return node;
  });
  return { node: make("div", { class: "stops" }, ...nodes), mark: (here) => nodes.forEach((node, s) => node.classList.toggle("here", s === here)) };
};
const path = (points) => `M${points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L")}`;
const WIDE = 1000; // of the curves' drawings, stretched to the page
const HIGH = 100;

// The factor of the logits: 0 at the left end, then from 0.01 to 10 in equal steps of its logarithm.
const LEAST = 0.01;
const MOST = 10;
const toScale = (at) => (at <= 0 ? 0 : LEAST * (MOST / LEAST) ** at);
const toSlider = (scale) => (scale <= LEAST ? 0 : Math.log(scale / LEAST) / Math.log(MOST / LEAST));

const scaleSlider = ({ trained, stops, measured }, changed) => {
  const rights = measured.curve.map(([, right]) => right);
  const [low, high] = [Math.min(...rights), Math.max(...rights)];
  const height = (right) => HIGH * (0.95 - 0.9 * (right - low) / (high - low));
  const nearest = (scale) => measured.curve.reduce((best, each) => (Math.abs(toSlider(each[0]) - toSlider(scale)) < Math.abs(toSlider(best[0]) - toSlider(scale)) ? each : best))[1];
  const share = (right) => `${(100 * right / measured.images).toFixed(1)} %`;
  const slider = sliding("How sharply does it choose?", { min: 0, max: 1, step: 0.001 }, (value, change) => value + 0.02 * change, (at) => {
    const stop = stops.find(({ scale }) => Math.abs(toSlider(scale) - at) < 0.012);
    changed(stop ? stop.scale : toScale(at), true);
  });
  const below = stopsBelow(stops.map(({ scale, title, factor }) => ({ at: toSlider(scale), title, lines: [factor, `${share(nearest(scale))} right`] })),
    (s) => changed(stops[s].scale, false));
  const line = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    drawn("path", { d: path(measured.curve.map(([scale, right]) => [WIDE * toSlider(scale), height(right)])) }));
  const [cursor, said] = [make("b", { class: "cursor" }), make("output")];
  const node = make("section", { class: "slider", "data-part": "scale" }, make("h2", {}, "How sharply does it choose?"), said,
    make("div", { class: "curve" }, line, cursor), slider, below.node);
  const show = (scale, idle) => {
    const here = stops.findIndex((stop) => Math.abs(stop.scale - scale) < 1e-9);
    slider.value = toSlider(scale);
    slider.setAttribute("aria-valuetext", here < 0 ? `times ${scale.toPrecision(2)}` : `${stops[here].title}, ${stops[here].factor}`);
    below.mark(idle ? -1 : here);
    Object.assign(cursor.style, { left: `${100 * toSlider(scale)}%`, top: `${height(nearest(scale))}%` });
    const factor = here < 0 ? `× ${scale.toPrecision(2)}` : stops[here].factor;
    said.replaceChildren(...(idle ? ["of the network as it came"] : [make("b", { class: "value" }, factor), ` ${share(nearest(scale))} of ${measured.images} right`]));
    node.classList.toggle("idle", idle);
  };
  return { node, show, focus: () => slider.focus(), trained };
};

// Epochs of runs that were watched. The last frame of a run may be another, longer run's; a gap says so.
const trainingSlider = ({ runs, note }, changed) => {
  const places = runs[0].frames.map(({ apart }, index) => (apart ? index + 2 : index)); // what is apart stands apart
  const last = places.length - 1;
  const at = (index) => places[index] / places[last];
  const nearest = (place) => range(places.length).reduce((best, index) => (Math.abs(places[index] - place) < Math.abs(places[best] - place) ? index : best));
  const accuracies = runs.flatMap(({ frames }) => frames.map(({ accuracy }) => accuracy).filter((each) => each !== null));
  const [low, high] = [Math.min(...accuracies), Math.max(...accuracies)];
  const height = (accuracy) => HIGH * (0.95 - 0.9 * (accuracy - low) / (high - low));
  let run = 0;
  const slider = sliding("How did it learn?", { min: 0, max: places[last], step: 1 }, (place, change) => places[Math.max(0, Math.min(last, nearest(place) + change))], (place) => changed(run, nearest(place), true));
  const curves = runs.map(({ key, frames }) => {
    const points = frames.flatMap(({ accuracy, apart }, index) => (accuracy === null || apart ? [] : [[WIDE * at(index), height(accuracy)]]));
    const gap = frames.flatMap(({ accuracy, apart }, index) => (apart ? [[WIDE * at(index), height(accuracy)]] : []));
    return drawn("g", { style: `--own: var(--${key === "letter" ? "letter" : "eva"})` }, drawn("path", { d: path(points) }), ...gap.map((end) => drawn("path", { class: "gap", d: path([points.at(-1), end]) })));
  });
  const line = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...curves);
  const choices = runs.map(({ title }, index) => {
    const input = make("input", { type: "radio", name: "run" });
    input.addEventListener("change", () => changed(index, nearest(Number(slider.value)), false));
    return { input, node: make("label", {}, input, make("span", {}, title)) };
  });
  const marked = runs[0].frames.flatMap(({ stop }, index) => (stop ? [{ index, ...stop }] : []));
  const below = stopsBelow(marked.map(({ index, title, line: under }) => ({ at: at(index), title, lines: under ? [under] : [] })), (s) => changed(run, marked[s].index, false));
  const [cursor, said] = [make("b", { class: "cursor" }), make("output")];
  const node = make("section", { class: "slider", "data-part": "training" }, make("h2", {}, "How did it learn?"), said,
    make("div", { class: "curve" }, line, cursor), slider, below.node,
    make("fieldset", { class: "runs" }, make("legend", {}, "run"), ...choices.map((choice) => choice.node)), make("p", { class: "note" }, note));
  const show = (which, index) => {
    const idle = index === null;
    run = which;
    const shown = idle ? last : index;
    const { epoch, accuracy, apart } = runs[run].frames[shown];
    choices.forEach(({ input }, each) => { input.checked = each === run; });
    curves.forEach((curve, each) => curve.classList.toggle("here", each === run));
    slider.value = places[shown];
    slider.setAttribute("aria-valuetext", idle ? "not in use" : `epoch ${epoch}, ${runs[run].title}`);
    below.mark(idle ? -1 : marked.findIndex((each) => each.index === index));
    cursor.hidden = idle || accuracy === null;
    Object.assign(cursor.style, { left: `${100 * at(shown)}%`, top: `${accuracy === null ? 0 : height(accuracy)}%` });
    const when = epoch === 0 ? "before training" : `epoch ${epoch}`;
    said.replaceChildren(...(idle ? ["epoch by epoch"] : [make("b", { class: "value" }, when), accuracy === null ? "" : ` ${accuracy.toFixed(1)} % right`]));
    node.classList.toggle("idle", idle);
  };
  const frame = (which, index) => runs[which].frames[index];
  const epochs = runs.map(({ frames }) => frames.map(({ epoch }) => epoch));
  return { node, show, frame, epochs };
};
