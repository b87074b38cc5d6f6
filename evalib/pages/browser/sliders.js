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
const nearest = (values, value) => values.reduce((best, each, index) => (Math.abs(each - value) < Math.abs(values[best] - value) ? index : best), 0);
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
  const places = measured.curve.map(([scale]) => toSlider(scale));
  const rightAt = (scale) => rights[nearest(places, toSlider(scale))];
  const share = (right) => `${(100 * right / measured.images).toFixed(1)} %`;
  const slider = sliding("How sharply does it choose?", { min: 0, max: 1, step: 0.001 }, (value, change) => value + 0.02 * change, (at) => {
    const stop = stops.find(({ scale }) => Math.abs(toSlider(scale) - at) < 0.012);
    changed(stop ? stop.scale : toScale(at), true);
  });
  const below = stopsBelow(stops.map(({ scale, title, factor }) => ({ at: toSlider(scale), title, lines: [factor, `${share(rightAt(scale))} right`] })),
    (s) => changed(stops[s].scale, false));
  const line = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    drawn("path", { d: path(measured.curve.map(([scale, right]) => [WIDE * toSlider(scale), height(right)])) }));
  const [cursor, said] = [make("b", { class: "cursor" }), make("output")];
  const node = make("section", { class: "slider", "data-part": "scale" }, make("h2", {}, "How sharply does it choose?"), said,
    make("div", { class: "curve" }, line, cursor), slider, below.node,
    make("p", { class: "note" }, "One trained network, changed after its training. What that does to it says little of a network that was trained so."));
  const show = (scale, idle) => {
    const here = stops.findIndex((stop) => Math.abs(stop.scale - scale) < 1e-9);
    slider.value = toSlider(scale);
    slider.setAttribute("aria-valuetext", here < 0 ? `times ${scale.toPrecision(2)}` : `${stops[here].title}, ${stops[here].factor}`);
    below.mark(idle ? -1 : here);
    Object.assign(cursor.style, { left: `${100 * toSlider(scale)}%`, top: `${height(rightAt(scale))}%` });
    const factor = here < 0 ? `× ${scale.toPrecision(2)}` : stops[here].factor;
    said.replaceChildren(...(idle ? ["of the network as it came"] : [make("b", { class: "value" }, factor), ` ${share(rightAt(scale))} of ${measured.images} right`]));
    node.classList.toggle("idle", idle);
  };
  return { node, show, focus: () => slider.focus(), trained };
};

// Epochs of runs that were watched. The curve has them all, the slider those that were kept; early ones stand further apart.
const trainingSlider = ({ runs, note }, changed) => {
  const epochs = runs.map(({ frames }) => frames.map(({ epoch }) => epoch));
  const at = (epoch) => Math.log1p(epoch) / Math.log1p(epochs[0].at(-1));
  const accuracies = runs.flatMap(({ curve }) => curve);
  const [low, high] = [Math.min(...accuracies), Math.max(...accuracies)];
  const height = (accuracy) => HIGH * (0.95 - 0.9 * (accuracy - low) / (high - low));
  let run = 0;
  const frameAt = (place) => nearest(epochs[run].map(at), place);
  const stride = (place, change) => at(epochs[run][Math.max(0, Math.min(epochs[run].length - 1, frameAt(place) + change))]);
  const slider = sliding("How did it learn?", { min: 0, max: 1, step: 0.001 }, stride, (place) => changed(run, frameAt(place), true));
  const curves = runs.map(({ key, curve }) => drawn("g", { style: `--own: var(--${key === "letter" ? "letter" : "eva"})` },
    drawn("path", { d: path(curve.map((accuracy, index) => [WIDE * at(index + 1), height(accuracy)])) })));
  const line = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...curves);
  const choices = runs.map(({ title }, index) => {
    const input = make("input", { type: "radio", name: "run" });
    input.addEventListener("change", () => changed(index, frameAt(Number(slider.value)), false));
    return { input, node: make("label", {}, input, make("span", {}, title)) };
  });
  const marked = runs[0].frames.flatMap(({ epoch, stop }, index) => (stop ? [{ index, at: at(epoch), title: stop, lines: [] }] : []));
  const below = stopsBelow(marked, (s) => changed(run, marked[s].index, false));
  const [cursor, said] = [make("b", { class: "cursor" }), make("output")];
  const node = make("section", { class: "slider", "data-part": "training" }, make("h2", {}, "How did it learn?"), said,
    make("div", { class: "curve" }, line, cursor), slider, below.node,
    make("fieldset", { class: "runs" }, make("legend", {}, "run"), ...choices.map((choice) => choice.node)), make("p", { class: "note" }, note));
  const show = (which, index) => {
    const idle = index === null;
    run = which;
    const { epoch, accuracy } = runs[run].frames.at(idle ? -1 : index);
    choices.forEach(({ input }, each) => { input.checked = each === run; });
    curves.forEach((curve, each) => curve.classList.toggle("here", each === run));
    slider.value = at(epoch);
    slider.setAttribute("aria-valuetext", idle ? "not in use" : `epoch ${epoch}, ${runs[run].title}`);
    below.mark(idle ? -1 : marked.findIndex((each) => each.index === index));
    cursor.hidden = idle || accuracy === null;
    Object.assign(cursor.style, { left: `${100 * at(epoch)}%`, top: `${accuracy === null ? 0 : height(accuracy)}%` });
    const when = epoch === 0 ? "before training" : `epoch ${epoch}`;
    said.replaceChildren(...(idle ? ["epoch by epoch"] : [make("b", { class: "value" }, when), accuracy === null ? "" : ` ${accuracy.toFixed(1)} % right`]));
    node.classList.toggle("idle", idle);
  };
  const frame = (which, index) => runs[which].frames[index];
  return { node, show, frame, epochs };
};
