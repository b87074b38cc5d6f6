// <eva-explorer>: one forward pass of a trained network, to be pointed at, tapped, or walked with the arrow keys.
// evalib/pages/explorer.py writes the element: a <template> with the styles, JSON with what PyTorch computed, and a static
// figure, which is all there is where scripts are off. Colours come from the text of the page around it.

// Eq. 1 at one pixel: weights × pixels, channel by channel, and their sum.
const convolution = (data) => {
  const state = { image: 0, filter: 0 };
  const n = data.images[0].x[0].length;
  const said = status();
  const [where, sum] = [make("span"), make("b", { class: "sum" })];
  const canvas = make("canvas", { width: n, height: n, role: "img", "aria-label": "the output of the filter at every pixel" });
  const answer = make("i", { class: "centre" });
  const outputs = make("div", { class: "map plain" }, canvas, answer);
  outputs.style.setProperty("--n", n);
  const move = (down, right) => map.choose([map.chosen()[0] + down, map.chosen()[1] + right]);
  const panels = data.channels.map((name) => windowTable(`${name}: weight × pixel`, data.k, move));
  const output = (i, j) => data.images[state.image].y[state.filter][i][j];

  const show = (i, j) => {
    const { x } = data.images[state.image];
    map.outline(i, j);
    answer.style.setProperty("--top", i);
    answer.style.setProperty("--left", j);
    const products = panels.flatMap(({ cells }, c) => cells.map(({ cell, value, terms, down, right }, index) => {
      const pixel = x[c][i + down]?.[j + right];
      const weight = data.weights[state.filter][c].flat()[index];
      const product = weight * (pixel ?? 0);
      cell.classList.toggle("outside", pixel === undefined);
      value.textContent = number(product);
      terms.textContent = `${number(weight, 2)}\n× ${pixel === undefined ? "0" : number(pixel, 2)}`;
      return [cell, product];
    }));
    const scale = largest(products.map(([, product]) => product));
    products.forEach(([cell, product]) => paint(cell, product, scale));
    where.textContent = `Pixel at ${place(i, j)}: the ${products.length} products add up to `;
    sum.textContent = number(output(i, j));
    paint(sum, output(i, j), data.largest_output);
  };
  const say = (i, j) => {
    said.textContent = `Pixel at ${place(i, j)}: the products add up to ${number(output(i, j))}.`;
  };
  const map = windowMap("pixels of the image", n, data.k, false, data.start, show, say);
  const draw = () => {
    const { src, y } = data.images[state.image];
    map.image.src = src;
    const inked = canvas.getContext("2d").createImageData(n, n);
    y[state.filter].flat().forEach((value, index) => {
      const ink = value < 0 ? [217, 115, 13] : [47, 111, 181];
      inked.data.set([...ink, Math.min(255, (255 * Math.abs(value)) / data.largest_output)], 4 * index);
    });
    canvas.getContext("2d").putImageData(inked, 0, 0);
    map.choose(map.chosen());
  };
  const node = view(
    pictures(data.images, (index) => { state.image = index; draw(); }),
    choice("Filter", data.filters, (index) => { state.filter = index; draw(); }).node,
    row(framed(map.node, "input; hatched: the zeros around it"), framed(outputs, "output of this filter; blue: positive")),
    make("p", {}, where, sum),
    row(...panels.map((panel) => panel.node)), said);
  draw();
  return node;
};

// Eq. 3 at one pixel: content and position logits, and the softmax of their sum.
const attention = (data) => {
  const state = { image: 0, head: 0 };
  const n = data.images[0].content[0].length;
  const said = status();
  const move = (down, right) => map.choose([map.chosen()[0] + down, map.chosen()[1] + right]);
  const parts = [["content", "content logits"], ["position", "position logits"], ["weights", "softmax of their sum, %"]];
  const panels = parts.map(([part, caption]) => ({ part, ...windowTable(caption, data.k, move) }));
  const [content, position, softmax] = panels;
  const values = (part, i, j) => data.images[state.image][part][state.head][i][j];

  const where = make("figcaption");

  const show = (i, j) => {
    map.outline(i, j);
    where.textContent = `query at ${place(i, j)} of the layer's ${n}×${n} map, laid on the image`;
    const scale = largest([...values("content", i, j), ...values("position", i, j)]);
    for (const { part, cells } of panels)
      cells.forEach(({ cell, value }, index) => {
        const entry = values(part, i, j)[index];
        cell.classList.toggle("outside", entry === null);
        value.textContent = entry === null ? "–" : part === "weights" ? percent(entry) : number(entry);
        part === "weights" ? paintWeight(cell, entry) : paint(cell, entry, scale);
      });
  };
  const say = (i, j) => {
    const weights = values("weights", i, j);
    const top = weights.indexOf(Math.max(...weights));
    const { down, right } = panels[0].cells[top];
    said.textContent = `Head ${state.head + 1}, query at ${place(i, j)}: the largest weight, ` +
      `${percent(weights[top])} %, is at offset ${number(down, 0)}, ${number(right, 0)}.`;
  };
  const map = windowMap("queries of the layer", n, data.k, true, data.start, show, say);
  const draw = () => {
    map.image.src = data.images[state.image].src;
    map.choose(map.chosen());
  };
  const node = view(
    pictures(data.images, (index) => { state.image = index; draw(); }),
    choice("Head", data.heads, (index) => { state.head = index; draw(); }).node,
    row(make("figure", { class: "small" }, map.node, where), make("div", { class: "column" }, content.node, position.node), softmax.node), said);
  draw();
  return node;
};

// The four looks, the four recalls and the class scores of one image.
const eva = (data) => {
  const state = { image: 0, head: 0 };
  const stages = range(data.rings.length);
  const ringOf = range(data.extent).map(() => range(data.extent));
  stages.forEach((stage) => data.rings[stage][0].forEach((row, m) => {
    ringOf[row][data.rings[stage][1][m]] = [stage, m];
  }));
  const of = (part, stage, head = state.head) => {
    const heads = data.images[state.image][part][stage];
    return head === 0 ? mean(heads) : heads[head - 1];
  };
  const said = status();
  const image = make("img", { alt: "" });
  const centre = make("i", { class: "centre" });
  const picture = make("div", { class: "map crop" }, image, make("i", { class: "frame" }), centre);
  const slots = ["q0", ...stages.map((stage) => `attn${stage}`)];
  const heads = table("weight of this pixel, %", data.heads, 1);
  const recall = table("recall: weight of each slot, %", ["stage", ...slots], stages.length, stages.map(String));
  const scores = table("class scores; ✓: the image is labelled so", ["class", "score", "softmax, %"], data.classes.length, data.classes);

  const show = (i, j) => {
    const [stage, m] = ringOf[i][j];
    centre.style.setProperty("--top", i);
    centre.style.setProperty("--left", j);
    heads.node.caption.textContent = `${place(i, j)}: share of ring ${stage}, %`;
    heads.cells[0].forEach((cell, head) => {
      const share = of("looks", stage, head)[m];
      cell.textContent = percent(share);
      paintWeight(cell, share);
    });
  };
  const say = (i, j) => {
    const [stage, m] = ringOf[i][j];
    said.textContent = `${data.heads[state.head]}, pixel at ${place(i, j)} of ring ${stage}: ${percent(of("looks", stage)[m])} %.`;
  };
  const pixels = pixelGrid("look weights on the 7×7 map", data.extent, data.extent, data.start, show, say);
  const draw = () => {
    const { src, scores: logits, label } = data.images[state.image];
    image.src = src;
    pixels.cells.flat().forEach((cell) => {
      const [i, j] = [Number(cell.dataset.i), Number(cell.dataset.j)];
      const [stage, m] = ringOf[i][j];
      const ring = of("looks", stage);
      cell.className = `ring${stage}`;
      cell.textContent = percent(ring[m]);
      cell.setAttribute("aria-label", `${place(i, j)}, ring ${stage}: ${percent(ring[m])} %`);
      paintWeight(cell, ring[m]);
    });
    recall.cells.forEach((row, stage) => row.forEach((cell, slot) => {
      const share = of("recalls", stage)[slot];
      cell.textContent = share === undefined ? "" : percent(share);
      paintWeight(cell, share);
    }));
    const top = Math.max(...logits);
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0);
    scores.cells.forEach(([score, share], c) => {
      const softmax = Math.exp(logits[c] - top) / total;
      score.textContent = number(logits[c]);
      share.textContent = percent(softmax);
      share.style.setProperty("--bar", softmax);
      share.parentNode.className = c === label ? "label" : "";
      share.parentNode.firstChild.textContent = data.classes[c] + (c === label ? " ✓" : "");
    });
    pixels.choose(pixels.chosen());
  };
  heads.node.className = "heat heads";
  recall.node.className = "heat recall";
  scores.node.className = "scores";
  const node = view(
    pictures(data.images, (index) => { state.image = index; draw(); }),
    choice("Head", data.heads, (index) => { state.head = index; draw(); }).node,
    row(framed(picture, "framed: the 7×7 map, laid on the image"),
      framed(make("div", { class: "rings" }, pixels.grid), "look weights, %; each ring sums to 100")),
    row(make("div", { class: "column" }, heads.node, recall.node), scores.node), said);
  draw();
  return node;
};

customElements.define("eva-explorer", class extends HTMLElement {
  connectedCallback() {
    if (this.shadowRoot) return;
    if (!this.querySelector("script")) { // the parser has only seen the opening tag
      document.addEventListener("DOMContentLoaded", () => this.connectedCallback(), { once: true });
      return;
    }
    const data = JSON.parse(this.querySelector("script").textContent);
    const styles = this.querySelector("template").content.cloneNode(true);
    const build = { convolution, attention, eva }[data.kind];
    this.attachShadow({ mode: "open" }).append(styles, build(data));
  }
});
