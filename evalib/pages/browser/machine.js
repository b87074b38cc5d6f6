// <looking-machine>: EVA on ten pictures, look by look, and what becomes of it when something is changed. Its maps, first queries
// and weights are in the page (evalib/pages/machine.py); engine.js computes the rest.
const WHAT_IF = {
  average: ["average", "Each look takes the plain mean of its ring"],
  shuffle: ["shuffle a ring", "The squares of each ring change places before EVA looks"],
  reverse: ["reverse the rings", "EVA reads from the outer ring inwards"],
  swap: ["exchange a look", "This look is another picture's; press again for the next one"],
  drop: ["take the looks away", "The last layer reads the first glance alone"],
};

const machine = (data, floats, host) => {
  const { read, expand } = engine();
  const network = read(data.structure, floats);
  const { images, classes, measured, scale: scales } = data;
  const n = network.extent ** 2;
  const width = network.q0.length / images.length;
  const part = (block, at, length) => Float64Array.from(block.subarray(at * length, (at + 1) * length));
  const maps = images.map((_, k) => range(n).map((m) => part(network.maps, k * n + m, network.maps.length / images.length / n)));
  const firsts = images.map((_, k) => part(network.q0, k, width));
  const stages = network.stages.map(({ ring }) => ring);
  const rings = stages.map((ring) => (ring.length === 1 ? "centre" : `ring of ${ring.length}`));
  const inwards = stages.map((_, s) => stages.length - 1 - s);
  const { trained } = scales;
  const last = stages.length; // the step after which it answers
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const atHand = { epoch: null, run: 0 }; // the network in the page, and no run that was watched
  const fresh = { scale: trained, what: "", ...atHand };
  const initial = { image: data.first, step: 0, stage: 2, donor: 0, card: null, real: { split: "test", pair: 0, out: [] }, ...fresh };
  let state = initial;
  let touched = false;
  let moving = false; // a slider is under the hand

  // The answer of the network as it came, or as the reader has changed it.
  const plain = [];
  const ask = ({ image, scale, what, stage, donor }) => {
    const options = { factor: scale / trained, even: what === "average", order: what === "shuffle" ? data.shuffled : null, turn: what === "reverse" };
    if (what === "swap") {
      const other = expand(network, maps[donor], firsts[donor], options);
      options.swap = { stage, slot: other.slots[stage + 1], shares: other.looks[stage] };
    }
    const answer = expand(network, maps[image], firsts[image], options);
    return what === "drop" ? { ...answer, softmax: answer.readouts[0] } : answer;
  };
  const untouched = (image) => (plain[image] ??= ask({ image, scale: trained, what: "" }));
  // What the parts show: of the network at hand, or of a run that was watched.
  const view = () => {
    if (state.epoch !== null) {
      const { looks, recalls, shares, effective: spread, lengths } = training.frame(state.run, state.epoch).pictures[state.image];
      const units = (values) => values.map((value) => value / data.training.units);
      return { looks: looks.map(units), recalls: recalls.map(units), readouts: shares.map(units), spread, lengths, slots: null, order: stages.map((_, s) => s) };
    }
    const answer = ask(state);
    const spread = answer.looks.map((look) => look.reduce((sum, head) => sum + effective(head), 0) / look.length);
    return { ...answer, looks: answer.looks.map(mean), recalls: answer.recalls.map(mean), spread, order: state.what === "reverse" ? inwards : stages.map((_, s) => s) };
  };

  const lender = (donor, image) => (donor === image ? (image + 1) % images.length : donor); // always another picture

  const set = (change) => { state = { ...state, ...change }; show(); };
  const photo = photograph({ ...data, extent: network.extent, stages });
  const notes = notebook([["q0", "first glance"], ...rings.map((name, s) => [`attn${s}`, name])], width);
  const undo = press("undo", () => { set(fresh); scaling.focus(); });
  undo.classList.add("undo");
  const answer = answers(classes, undo);
  const controls = transport(["first glance", ...rings], (step) => set({ step }));
  const scaling = scaleSlider({ ...scales, measured }, (scale, under) => { moving = under; set({ scale, ...atHand }); });
  const training = trainingSlider(data.training, (run, epoch, under) => { moving = under; set({ ...fresh, run, epoch }); });
  const real = isItReal(data.real, (next) => set({ real: next }));
  const cards = deck(data.cards, (card) => { set({ card }); if (card !== null) turnTo(card); }, (card) => turnTo(card));
  const what = Object.entries(WHAT_IF).map(([name, [label]]) => {
    const node = press(label, () => {
      if (name !== "swap") return set({ ...atHand, what: state.what === name ? "" : name });
      const donor = lender((state.donor + 1) % images.length, state.image);
      return set({ ...atHand, what: "swap", donor, stage: state.what === "swap" ? state.stage : Math.max(state.step - 1, 1) });
    });
    return { name, node };
  });
  const thumbs = images.map(({ name, src }, image) => {
    const input = make("input", { type: "radio", name: "picture", "aria-label": name });
    input.addEventListener("change", () => set({ image, donor: lender(state.donor, image) }));
    return { input, node: make("label", { title: name }, input, make("img", { src, alt: "" })) };
  });
  const [caption, effect, exactly, status] = [make("p", { class: "caption" }), make("p", { class: "effect" }), make("span"), make("p", { role: "status" })];

  const show = () => {
    const { image, step, scale, what: name, epoch } = state;
    const seen = view();
    const dropped = name === "drop";
    const changed = epoch !== null || name || Math.abs(scale - trained) > 1e-9;
    const called = [...["first glance"], ...seen.order.map((stage) => rings[stage])];
    const now = step && !dropped ? seen.order[step - 1] : null;
    photo.draw(state);
    const top = now === null ? "" : `, ${data.structure.heads} heads: top ${whole(Math.max(...seen.looks[step - 1]))}, mean spread ${seen.spread[step - 1].toFixed(1)}`;
    const title = dropped ? "No look: the last layer reads the first glance alone"
      : step === 0 ? `First glance: all ${n} squares at once`
      : stages[now].length === 1 ? "The centre: one square, no choice yet" : `${called[step][0].toUpperCase()}${called[step].slice(1)}${top}`;
    caption.textContent = title;
    photo.show({ looks: dropped ? [] : seen.looks, order: seen.order, step: dropped ? 0 : step, named: `${images[image].name}. ${title}.` });
    notes.show({ ...seen, step, called, filled: !dropped });
    const shares = dropped ? seen.readouts[0] : seen.readouts[step];
    const said = answer.show({ shares, before: changed && epoch === null ? untouched(image).readouts[step] : null, label: images[image].label, last: dropped || step === last });
    controls.show(step, ["all", ...seen.order.map((stage) => String(stages[stage].length))], called);
    scaling.show(scale, epoch !== null);
    training.show(state.run, epoch);
    thumbs.forEach(({ input }, k) => { input.checked = k === image; });
    what.forEach(({ name: each, node }) => node.setAttribute("aria-pressed", String(each === name)));
    undo.hidden = !changed;
    const verdict = real.show(state.real);
    cards.show(state.card);
    const lights = state.card === null ? "" : data.cards[state.card].lights;
    for (const node of inside.querySelectorAll("[data-part]")) node.classList.toggle("lit", node.dataset.part === lights);
    inside.classList.toggle("moving", moving);
    inside.classList.toggle("asking", cards.asking());
    inside.classList.toggle("letter", epoch !== null && data.training.runs[state.run].key === "letter");
    if (!moving) effect.replaceChildren(...consequence());
    if (!changed) exactly.textContent = ` Largest difference between these weights and PyTorch's: ${apart(image, seen).toExponential(0)}.`;
    if (host.isConnected) spin(now, dropped ? 0 : step);
    clearTimeout(show.later);
    show.later = setTimeout(() => {
      if (touched) {
        status.textContent = lights === "real" ? verdict : `${title}. ${said}`;
        history.replaceState(null, "", `#${address()}`);
      }
      if (moving) effect.replaceChildren(...consequence());
      moving = false;
      inside.classList.remove("moving");
    }, 250);
  };
  const apart = (image, { looks }) => Math.max(...stages.flatMap((ring, s) => ring.map((m, index) => Math.abs(looks[s][index] - data.check[image][m]))));

  // What the reader's change does, on these ten and on all test pictures, and what a network had that was trained so.
  const consequence = () => {
    const { what: name, stage, donor, image, scale, epoch } = state;
    if (epoch !== null) return [training.frame(state.run, epoch).told];
    if (!name) return ["Change one thing and see whether the answer holds."];
    const moved = images.filter((_, k) => {
      const both = { ...state, image: k, donor: (k + donor - image + images.length) % images.length };
      return most(ask(both).softmax) !== most(ask({ ...both, what: "" }).softmax);
    }).length;
    const found = name === "swap" ? measured.swap[stage] : measured[name];
    const share = (count) => `${(100 * count / measured.images).toFixed(1)} %`;
    const doing = name === "swap" ? `The ${rings[stage]} is the ${images[donor].name}'s` : WHAT_IF[name][1];
    const told = Math.abs(scale - trained) < 1e-9
      ? ` Of ${measured.images} test pictures, ${share(found.changed)} get another answer; ${share(found.right)} are right, not ${share(measured.plain)}.` : "";
    return [...(name === "swap" ? [make("img", { src: images[donor].src, alt: "" })] : []), `${doing}: another answer for ${moved} of these ten.${told} `, make("em", {}, data.controls[name])];
  };

  // A card sets the machine, of what would tell the answer not before the guess; the part that it lights up comes into view.
  const turnTo = (card) => {
    const { state: link, lights } = data.cards[card];
    controls.pause();
    state = { ...state, ...fresh };
    follow(new URLSearchParams(cards.isAnswered(card) ? link : harmless(link)));
    show();
    reveal(lights);
  };
  const harmless = (link) => [...new URLSearchParams(link)].filter(([name]) => name === "image" || name === "look");
  const reveal = (lights) => {
    const node = inside.querySelector(`[data-part="${lights}"]`);
    const { top, bottom } = node.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight - cards.panel.offsetHeight) node.scrollIntoView({ block: lights === "real" ? "start" : "center", behavior: still ? "auto" : "smooth" });
  };

  // The address, there and back.
  const address = () => {
    const { image, step, scale, what: name, stage, donor, epoch, run, card, real: { split, pair, out } } = state;
    const link = { image: images[image].name, look: step ? step - 1 : "q0" };
    if (epoch === null) link.scale = Number(scale.toPrecision(3));
    else Object.assign(link, { epoch: training.epochs[run][epoch], run: data.training.runs[run].key });
    if (name) link.whatif = name === "swap" ? `swap.${stage}.${images[donor].name}` : name;
    if (card !== null) link.card = card + 1;
    if (split !== "test") link.split = split;
    if (pair) link.pair = pair + 1;
    if (out.length) link.without = out.join("+");
    return new URLSearchParams(link);
  };
  const follow = (link) => {
    const number = (name, low, high) => {
      const value = link.has(name) && link.get(name) !== "" ? Number(link.get(name)) : NaN;
      return value >= low && value <= high ? value : null;
    };
    const named = (name) => { const at = images.findIndex((each) => each.name === name); return at < 0 ? null : at; };
    const card = number("card", 1, data.cards.length);
    if (card !== null) follow(new URLSearchParams(harmless(data.cards[Math.round(card) - 1].state)));
    const change = card === null ? {} : { card: Math.round(card) - 1 };
    const keep = (name, value) => { if (value !== null) change[name] = value; };
    keep("image", named(link.get("image")));
    keep("step", link.get("look") === "q0" ? 0 : number("look", 0, last - 1) === null ? null : Math.round(number("look", 0, last - 1)) + 1);
    keep("scale", number("scale", 0, MOST));
    const [name, stage, donor] = (link.get("whatif") ?? "").split(".");
    if (name in WHAT_IF) change.what = name;
    if (name === "swap") Object.assign(change, { stage: Math.min(last - 1, Math.max(0, Math.round(Number(stage) || 0))), donor: named(donor) ?? 0 });
    if (link.has("epoch")) {
      const run = Math.max(0, data.training.runs.findIndex(({ key }) => key === link.get("run")));
      const wanted = number("epoch", 0, Infinity);
      Object.assign(change, fresh, { run, epoch: wanted === null ? null : nearest(training.epochs[run], wanted) });
    }
    if (["split", "pair", "without"].some((each) => link.has(each))) {
      const pair = number("pair", 1, real.size);
      change.real = { split: link.get("split") === "validation" ? "validation" : "test", pair: pair === null ? 0 : Math.round(pair) - 1, out: (link.get("without") ?? "").split(/[+ ]/).filter((run) => real.runs.includes(run)) };
    }
    state = { ...state, ...change };
    state.donor = lender(state.donor, state.image);
  };
  const given = (hash) => hash.includes("="); // else it names a heading of the page
  const fromAddress = (hash) => {
    if (!given(hash)) return;
    controls.pause();
    state = initial; // what an address does not name is as at first
    follow(new URLSearchParams(hash.slice(1)));
    show();
    if (state.card !== null) reveal(data.cards[state.card].lights);
    else if (/[#&](split|pair|without)=/.test(hash)) reveal("real");
  };

  // On wide pages a thread leads from the frame on the picture to the note that this look writes.
  const line = drawn("path");
  const thread = drawn("svg", { class: "thread", "aria-hidden": "true" }, line);
  const spin = (stage, slot) => {
    const [here, box, row] = [thread, photo.node, notes.row(slot)].map((node) => node.getBoundingClientRect());
    const [right, middle] = photo.border(stage);
    const [x, y] = [box.left - here.left + box.width * right, box.top - here.top + box.height * middle];
    const [to, level, bend] = [row.left - here.left - 10, row.top + row.height / 2 - here.top, box.right - here.left];
    line.setAttribute("d", `M${x},${y}L${Math.max(x, bend - 8)},${y}C${bend + 26},${y} ${bend + 2},${level} ${to},${level}`);
  };

  const legend = make("div", { class: "legend", "aria-hidden": "true" }, make("span", {}, "weight"),
    ...LEGEND.map((share) => make("span", {}, make("i", { style: `--share: ${shade(share)}` }), share === 1 ? "100 %" : `${100 * share}`)));
  const inside = make("div", { class: "machine" },
    make("div", { class: "bench" }, thread,
      make("div", { class: "film", role: "radiogroup", "aria-label": "picture" }, ...thumbs.map(({ node }) => node)),
      make("div", { class: "figure", "data-part": "photo" }, photo.node, controls.node, caption, legend),
      notes.node, answer.node,
      make("section", { class: "what", "data-part": "what" }, make("div", { class: "choices" }, make("h2", {}, "What if we"), ...what.map(({ node }) => node))), effect,
      make("div", { class: "sliders" }, scaling.node, training.node)),
    make("details", {}, make("summary", {}, "What you see, exactly"), make("p", {}, data.exactly, exactly)),
    cards.node, real.node, cards.panel, status);
  for (const kind of ["pointerdown", "keydown", "input"]) inside.addEventListener(kind, () => { touched = true; }, true);
  inside.addEventListener("keydown", (event) => {
    const change = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (change && !["INPUT", "SELECT"].includes(event.target.tagName)) { controls.by(change); event.preventDefault(); }
    if (event.key === " " && event.target === photo.node) { controls.toggle.click(); event.preventDefault(); }
    if (event.key === "Escape" && state.card !== null) set({ card: null });
  });
  addEventListener("hashchange", ({ newURL }) => fromAddress(new URL(newURL).hash)); // by now the page may have written another
  show(); // at once, so that nothing moves when the pictures are there
  new ResizeObserver(() => show()).observe(inside);
  photo.ready.then(() => {
    if (!given(location.hash) && still) state.step = data.step_at_rest;
    show();
    fromAddress(location.hash);
    if (!given(location.hash) && !still) controls.play();
    host.dataset.ready = "";
  });
  return inside;
};

customElements.define("looking-machine", class extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    const data = JSON.parse(this.querySelector("script[type='application/json']").textContent);
    const bytes = Uint8Array.from(atob(this.querySelector("script[type='text/plain']").textContent), (letter) => letter.charCodeAt(0));
    const root = this.attachShadow({ mode: "open" });
    root.append(this.querySelector("template").content.cloneNode(true), machine(data, new Float32Array(bytes.buffer), this));
  }
});
