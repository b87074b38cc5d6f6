// What EVA sees: the photograph with the rings on it, what it notes, and what it says. Each part is a node and a `show`.
const drawn = (tag, attributes = {}, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const pressed = (label, click, ...children) => {
  const node = make("button", { type: "button", "aria-label": label, title: label }, ...children);
  node.addEventListener("click", click);
  return node;
};
const whole = (share) => `${Math.round(100 * share)} %`;
const most = (values) => values.indexOf(Math.max(...values));
// The ink of a weight as on every page, at its full strength, for it lies on a photograph.
const shade = (weight) => ink(weight) / ink(1);
const LEGEND = [0, 0.04, 0.25, 0.5, 1];

// The photograph under the map. `draw` puts the pixels where the change of the reader puts them, `show` the weights.
const photograph = ({ size, step: cell, extent, stages, images, shuffled }) => {
  const edge = size - extent * cell; // the rows and columns of the picture that the map leaves out
  const middle = (extent - 1) / 2;
  const place = (m) => [edge + cell * Math.floor(m / extent), edge + cell * (m % extent)];
  const pictures = images.map(({ src }) => Object.assign(new Image(), { src }));
  const canvas = make("canvas", { width: size, height: size });
  const squares = range(extent * extent).map((m) => {
    const [y, x] = place(m);
    const box = { x, y, width: cell, height: cell };
    const [heat, text] = [drawn("rect", { class: "heat", ...box }), drawn("text", { x: x + cell / 2, y: y + cell / 2 })];
    return { heat, text, node: drawn("g", { class: "square" }, drawn("rect", { class: "wash", ...box }), heat, text) };
  });
  const around = (radius) => [edge + cell * (middle - radius), cell * (2 * radius + 1)];
  const rings = stages.map((_, radius) => {
    const [from, side] = around(radius);
    return drawn("rect", { class: "ring", x: from, y: from, width: side, height: side });
  });
  const frame = drawn("rect", { class: "frame" });
  const svg = drawn("svg", { viewBox: `0 0 ${size} ${size}`, "aria-hidden": "true" }, ...squares.map(({ node }) => node), ...rings, frame);
  const node = make("div", { class: "photo", tabindex: 0, role: "img" }, canvas, svg);

  const draw = ({ image, what, stage, donor }) => {
    const pen = canvas.getContext("2d");
    pen.drawImage(pictures[image], 0, 0);
    const lay = (picture, from, to) => {
      const [[y, x], [i, j]] = [place(from), place(to)];
      pen.drawImage(picture, x, y, cell, cell, j, i, cell, cell);
    };
    if (what === "shuffle") stages.forEach((ring, s) => ring.forEach((to, m) => lay(pictures[image], shuffled[s][m], to)));
    if (what === "swap") stages[stage].forEach((m) => lay(pictures[donor], m, m));
  };
  const show = ({ looks, order, step, named }) => {
    const now = step ? order[step - 1] : null;
    order.forEach((stage, s) => stages[stage].forEach((m, index) => {
      const { heat, text, node: square } = squares[m];
      const share = looks[s] ? looks[s][index] : 0;
      heat.style.opacity = shade(share);
      square.classList.toggle("strong", share > 0.4);
      square.dataset.weight = share;
      square.classList.toggle("now", stage === now);
      text.textContent = Math.round(100 * share);
    }));
    rings.forEach((ring, stage) => ring.classList.toggle("seen", order.indexOf(stage) < step && looks.length > 0));
    svg.classList.toggle("glance", now === null);
    const [from, side] = around(now ?? stages.length - 1);
    const inset = 0.13; // the picture ends where the outer ring does
    Object.assign(frame.style, { x: `${from + inset}px`, y: `${from + inset}px`, width: `${side - 2 * inset}px`, height: `${side - 2 * inset}px` });
    node.setAttribute("aria-label", named);
  };
  // Where the frame's right edge and the middle are, as shares of the picture's side.
  const border = (stage) => {
    const [from, side] = around(stage ?? stages.length - 1);
    return [(from + side) / size, (edge + cell * extent / 2) / size];
  };
  return { node, draw, show, border, ready: Promise.all(pictures.map((picture) => picture.decode())) };
};

// The slots: the numbers of each, up and down from zero, and how much of it the newest recall reads. Where the numbers are
// not at hand, a bar as long as the logarithm of the slot's length.
const notebook = (names, width) => {
  const reach = 4; // longer ones are cut
  const rows = names.map(([slot, name]) => {
    const [path, share, bar, said] = [drawn("path"), make("span", { class: "share" }), make("i"), make("small", {}, name)];
    const svg = drawn("svg", { viewBox: `0 ${-reach} ${width} ${2 * reach}`, preserveAspectRatio: "none", "aria-hidden": "true" }, path);
    const node = make("li", {}, make("span", { class: "name" }, make("b", {}, slot), said), svg, make("span", { class: "meter" }, bar), share);
    return { node, path, share, bar, said };
  });
  const title = make("small");
  const node = make("section", { class: "notebook", "data-part": "notebook" }, make("h2", {}, "What it notes ", title), make("ol", {}, ...rows.map((row) => row.node)));
  const show = ({ slots, lengths, recalls, step, called, filled }) => {
    title.textContent = slots ? "and how much it reads of each" : "the longer a note, the longer its bar";
    const reads = filled && step ? recalls[step - 1] : [];
    rows.forEach(({ node: row, path, share, bar, said }, s) => {
      const written = s <= (filled ? step : 0);
      path.setAttribute("d", slots
        ? [...slots[s]].map((v, d) => `M${d + 0.5},0V${(-Math.max(-reach, Math.min(reach, v))).toFixed(2)}`).join("")
        : `M0,0H${(width * Math.min(1, Math.log10(1 + lengths[s]) / 4)).toFixed(1)}`);
      path.classList.toggle("length", !slots);
      row.className = `${written ? "filled" : ""} ${s === step && filled ? "new" : ""}`;
      said.textContent = called[s];
      share.textContent = written && reads.length ? whole(reads[s]) : "";
      bar.style.width = `${written && reads.length ? 100 * reads[s] : 0}%`;
    });
  };
  return { node, show, row: (s) => rows[s].node };
};

// Ten bars, the answer above them, and a mark where each bar stood before the reader's change.
const answers = (classes, undo) => {
  const rows = classes.map((name) => {
    const [share, bar, mark, head] = [make("span", { class: "share" }), make("i"), make("s"), make("span", { class: "name" }, name)];
    return { share, bar, mark, head, node: make("li", {}, head, make("span", { class: "meter" }, bar, mark), share) };
  });
  const [now, answered, was] = [make("h2"), make("strong"), make("span", { class: "was" })];
  const node = make("section", { class: "answer", "data-part": "answer" }, now, undo, make("p", { class: "said" }, answered, was), make("ol", {}, ...rows.map((row) => row.node)));
  const show = ({ shares, before, label, last }) => {
    const top = most(shares);
    now.replaceChildren(...(last ? ["It says"] : ["If it stopped here ", make("small", {}, "its last layer, asked too early")]));
    answered.textContent = `${classes[top]}, ${whole(shares[top])}`;
    was.textContent = before ? `before: ${classes[most(before)]}, ${whole(before[most(before)])}` : "";
    was.dataset.note = last ? `it is: ${classes[label]}` : "its last layer, asked too early"; // narrow pages show it
    rows.forEach(({ node: row, share, bar, mark, head }, c) => {
      bar.style.width = `${100 * shares[c]}%`;
      share.textContent = whole(shares[c]);
      mark.hidden = !before || Math.abs(before[c] - shares[c]) < 0.01;
      mark.style.left = `${100 * (before ? before[c] : 0)}%`;
      row.className = c === top ? "top" : "";
      head.textContent = classes[c] + (label === c ? " ✓" : "");
    });
    return `${now.textContent}: ${answered.textContent}`;
  };
  return { node, show };
};

// Play, pause, one look back, one look on, and a button a look.
const transport = (steps, go) => {
  const [PLAY, PAUSE] = ["M6 3.5v13l11-6.5z", "M5 4h3.5v12H5zM11.5 4H15v12h-3.5z"];
  const icon = (d) => drawn("svg", { viewBox: "0 0 20 20", "aria-hidden": "true" }, drawn("path", { d }));
  let [step, timer] = [0, 0];
  const playing = (now) => {
    toggle.setAttribute("aria-label", now ? "pause" : "play");
    toggle.title = now ? "pause" : "play";
    toggle.querySelector("path").setAttribute("d", now ? PAUSE : PLAY);
  };
  const pause = () => { clearTimeout(timer); timer = 0; playing(false); };
  const play = () => {
    if (step === steps.length - 1) go(0);
    const next = () => {
      go(step + 1);
      timer = step < steps.length - 1 ? setTimeout(next, 1400) : 0;
      playing(timer);
    };
    timer = setTimeout(next, 900);
    playing(true);
  };
  const to = (target) => { pause(); go(Math.max(0, Math.min(steps.length - 1, target))); };
  const toggle = pressed("play", () => (timer ? pause() : play()), icon(PLAY));
  const dots = steps.map((name, s) => pressed(name, () => to(s), ""));
  dots.forEach((dot) => dot.classList.add("dot"));
  const node = make("div", { class: "transport", role: "group", "aria-label": "looks" },
    toggle, pressed("one look back", () => to(step - 1), icon("M13 4v12l-8-6z")), make("div", { class: "dots" }, ...dots),
    pressed("one look on", () => to(step + 1), icon("M7 4v12l8-6z")));
  const show = (now, labels, called) => {
    step = now;
    dots.forEach((dot, s) => {
      dot.textContent = labels[s];
      dot.setAttribute("aria-label", called[s]);
      dot.title = called[s];
      dot.classList.toggle("done", s <= step);
      if (s === step) dot.setAttribute("aria-current", "step"); else dot.removeAttribute("aria-current");
    });
  };
  return { node, show, play, pause, toggle, by: (change) => to(step + change) };
};
