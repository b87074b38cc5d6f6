// <eva-live>: a trained network that computes in the page. evalib/pages/live.py writes the element; the weights are
// read only when a reader starts it.

// The weights of a reading: in the page, or, where the book has moved them out of it, in a script beside it.
const weightsOf = async (node) => {
  const { digest, src } = node.dataset;
  if (src && !window.evaWeights?.[digest]) {
    const script = make("script", { src });
    await new Promise((resolve, reject) => {
      Object.assign(script, { onload: resolve, onerror: () => reject(new Error(`${src} could not be read: choose the variant or a picture again`)) });
      document.head.append(script);
    });
  }
  const text = atob(src ? window.evaWeights[digest] : node.textContent);
  return new Float32Array(Uint8Array.from(text, (letter) => letter.charCodeAt(0)).buffer);
};

// Answers in a worker, in the order of the questions.
const startWorker = () => {
  const answer = ({ read, forward }) => {
    const networks = {};
    return ({ digest, structure, weights, pixels }) => {
      if (structure) networks[digest] = read(structure, weights);
      return structure ? null : forward(networks[digest], pixels);
    };
  };
  const text = `const answer = (${answer})((${engine})()); onmessage = ({ data }) => postMessage(answer(data));`;
  const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const waiting = [];
  worker.onmessage = ({ data }) => waiting.shift().resolve(data);
  worker.onerror = ({ message }) => waiting.splice(0).forEach(({ reject }) => reject(new Error(message || "this browser gives the page no worker")));
  return (question) => new Promise((resolve, reject) => {
    waiting.push({ resolve, reject });
    worker.postMessage(question);
  });
};

const build = (data, weights) => {
  const { classes, size, mean: grey } = data.readings[0].structure;
  const hidden = grey.map((share) => Math.round(255 * share));
  const state = { reading: 0, head: 0, image: 0, tool: 0, colour: [230, 40, 40], answer: null, before: null, original: null, busy: false, again: false };
  const compute = startWorker();
  const ready = {};
  const said = make("p", { role: "status" });
  const problem = make("p", { role: "alert" });
  let later;
  const say = (text, wait = 0) => { clearTimeout(later); later = setTimeout(() => { said.textContent = text; }, wait); };

  // The reading that is chosen, ready to be asked: its weights are read once.
  const prepared = async () => {
    const { digest, ...structure } = data.readings[state.reading].structure;
    ready[digest] ??= weights[state.reading]().then((read) => compute({ digest, structure, weights: read }));
    await ready[digest].catch((error) => { delete ready[digest]; throw error; }); // so that it can be tried again
    return digest;
  };
  const ask = async (pixels) => compute({ digest: await prepared(), pixels });
  // What it said of the picture before any change, asked once.
  const original = async (digest) => {
    const pixels = area.first();
    if (state.original?.pixels !== pixels || state.original.digest !== digest) state.original = { digest, pixels, answer: await ask(pixels) };
    return state.original.answer;
  };
  const update = async () => {
    state.again = state.busy;
    if (state.busy) return;
    state.busy = true;
    try {
      do {
        state.again = false;
        const digest = await prepared();
        const before = area.edited() ? await original(digest) : null;
        const started = performance.now();
        Object.assign(state, { before, answer: await ask(area.pixels()) });
        show(performance.now() - started);
      } while (state.again);
    } catch (error) {
      problem.textContent = error.message;
    }
    state.busy = false;
  };
  const weighed = () => {
    panels.forEach((panel) => panel.show(area.canvas, state.answer, state.head));
    figures.show(state.answer, state.head);
  };
  const best = ({ softmax }) => most(softmax);
  const named = (answer) => `${classes[best(answer)]}, ${percent(answer.softmax[best(answer)])} %`;
  const show = (milliseconds) => {
    const { answer, before } = state;
    answerLine.textContent = named(answer);
    was.textContent = before ? `without your changes: ${named(before)}` : "";
    scores.show(answer.softmax, before?.softmax);
    scores.rows.forEach(({ head, node }, c) => {
      const labelled = state.image !== null && data.images[state.image].label === c;
      node.className = c === best(answer) ? "best" : "";
      head.textContent = classes[c] + (labelled ? " ✓" : "");
    });
    weighed();
    hiding.show(area.canvas, area.pixels(), answer);
    time.textContent = `computed in this page in ${Math.round(milliseconds)} ms`;
    view.dispatchEvent(new CustomEvent("answer", { bubbles: true, composed: true, detail: { ...answer, milliseconds } }));
    say(`${named(answer)}${before ? `; ${was.textContent}` : ""}`, 500);
  };

  const area = drawingArea(size, hidden, () => update(), say);
  const take = async (source, image) => {
    problem.textContent = "";
    try {
      area.put(shrink(await source(), size));
      state.image = image;
    } catch {
      problem.textContent = "This file is no picture that the browser can read: choose a JPEG, a PNG or a WebP.";
    }
  };
  const example = (index) => take(async () => {
    const image = Object.assign(new Image(), { src: data.images[index].src });
    await image.decode();
    return image;
  }, index);
  const own = (file) => file && take(() => createImageBitmap(file), null).then(() => pictures.select(state.image));
  const fileButton = (text, attributes) => {
    const input = make("input", { type: "file", accept: "image/*", ...attributes });
    input.addEventListener("change", () => { own(input.files[0]); input.value = ""; });
    return make("label", { class: `file ${attributes.class ?? ""}` }, input, make("span", {}, text));
  };

  const pictures = choice("Picture", data.images.map(({ name, src }) => make("img", { src, alt: name, title: name })), example);
  pictures.node.append(fileButton("your own …", {}), fileButton("a photograph …", { capture: "environment", class: "camera" }));
  const [brushes, names] = [[1, 2, 4, 8, 12], ["hide", "draw"]];
  const use = () => area.tool(state.brush, state.tool ? state.colour : hidden, state.tool === 1);
  const brush = choice("Patch", brushes.map(String), (index) => { state.brush = brushes[index]; use(); });
  const choose = (tool) => {
    Object.assign(state, { tool, brush: tool ? 2 : 8 });
    brush.select(brushes.indexOf(state.brush));
    use();
  };
  const tool = choice("Tool", names, choose);
  const colour = make("input", { type: "color", value: "#e62828", "aria-label": "Colour to draw with" });
  colour.addEventListener("input", () => {
    state.colour = [1, 3, 5].map((at) => parseInt(colour.value.slice(at, at + 2), 16));
    tool.select(1);
    if (!state.tool) choose(1);
    use();
  });
  tool.node.append(colour);
  const reading = choice("Variant", data.readings.map(({ name }) => name), (index) => { state.reading = index; update(); });
  reading.node.hidden = data.readings.length === 1;
  const { structure } = data.readings[0];
  const head = choice("Head", ["mean", ...range(structure.heads).map((h) => `${h + 1}`)], (index) => { state.head = index; weighed(); });
  const scores = bars("softmax of the scores, %; a line marks where it was without your changes; ✓: the label", classes);
  const [answerLine, was, time] = [make("p", { class: "answer" }), make("p", { class: "was" }), make("small")];
  const panels = range(structure.stages.length).map((stage) => stagePanel(structure, stage));
  const hiding = hidingPanel(structure, hidden, ask);
  const figures = numbers(structure);
  const view = make("div", { class: "view" }, pictures.node, problem,
    make("div", { class: "columns" },
      make("div", { class: "said" }, answerLine, was),
      area.node,
      make("div", { class: "tools" }, tool.node, brush.node, make("div", { class: "buttons" }, press("undo", area.undo), press("start over", area.restart))),
      make("div", { class: "scores" }, scores.node, time, reading.node, head.node)),
    make("ol", { class: "stages" }, ...panels.map(({ node }) => node), hiding.node),
    make("p", {}, "The deeper the blue, the more weight, from 0 to 100 %: one scale for all squares."), figures.node, said);
  view.addEventListener("dragover", (event) => event.preventDefault());
  view.addEventListener("drop", (event) => { event.preventDefault(); own(event.dataTransfer.files[0]); });
  view.addEventListener("paste", (event) => own(event.clipboardData.files[0]));
  choose(0);
  example(0);
  return view;
};

customElements.define("eva-live", class extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    if (!this.querySelector("script[type='application/json']")) { // the parser has only seen the opening tag
      document.addEventListener("DOMContentLoaded", () => this.connectedCallback(), { once: true });
      return;
    }
    const data = JSON.parse(this.querySelector("script[type='application/json']").textContent);
    const weights = [...this.querySelectorAll("script[data-digest]")].map((node) => () => weightsOf(node));
    const root = this.attachShadow({ mode: "open" });
    const begin = press(`Start the network (${data.megabytes} MB)`, () => {
      const view = build(data, weights);
      start.replaceWith(view);
      view.querySelector("input").focus();
    });
    const start = make("div", { class: "start" }, begin, make("slot"));
    root.append(this.querySelector("template").content.cloneNode(true), start);
  }
});
