// <eva-explorer>: one forward pass of a trained network, to be pointed at, tapped, or walked with the arrow keys.
// evalib/pages/explorer.py writes the element: a <template> with the styles, JSON with what PyTorch computed, and a static
// figure, which is all there is where scripts are off. Colours come from the text of the page around it.
(() => {
  if (customElements.get("eva-explorer")) return;

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const range = (n) => Array.from({ length: n }, (_, index) => index);
  const number = (value, digits = 3) => {
    const text = Math.abs(value).toFixed(digits);
    return value < 0 && Number(text) ? `−${text}` : text;
  };
  const percent = (share) => number(100 * share, 1);
  const mean = (rows) => rows[0].map((_, m) => rows.reduce((sum, row) => sum + row[m], 0) / rows.length);
  const place = (i, j) => `row ${i + 1}, column ${j + 1}`;
  const largest = (values) => Math.max(...values.filter((value) => value !== null).map(Math.abs), 1e-9);

  // Blue for what is positive, orange for what is negative, the more opaque the larger.
  const paint = (node, value, scale) => {
    node.style.setProperty("--share", (0.6 * Math.abs(value ?? 0)) / scale);
    node.classList.toggle("negative", value < 0);
  };

  // One of several, as radio buttons: `changed` gets the index.
  const choice = (legend, names, changed) => {
    const group = make("fieldset", {}, make("legend", {}, legend));
    names.forEach((name, index) => {
      const button = make("input", { type: "radio", name: legend, value: index });
      button.checked = index === 0;
      button.addEventListener("change", () => changed(index));
      group.append(make("label", {}, button, make("span", {}, name)));
    });
    return group;
  };
  const pictures = (images, changed) =>
    choice("Image", images.map(({ name, src }) => make("img", { src, alt: name, title: name })), changed);

  // An ARIA grid with one tab stop. `show` follows the pointer and returns to the pixel last chosen; `say` hears of
  // choices alone.
  const pixelGrid = (label, rows, columns, start, show, say) => {
    const cells = range(rows).map((i) =>
      range(columns).map((j) =>
        make("span", { role: "gridcell", tabindex: -1, "data-i": i, "data-j": j, "aria-label": place(i, j) })));
    const grid = make("div", { role: "grid", "aria-label": label }, ...cells.map((row) => make("div", { role: "row" }, ...row)));
    grid.style.setProperty("--columns", columns);
    let chosen = start;
    const choose = ([i, j]) => {
      const old = cells[chosen[0]][chosen[1]];
      old.tabIndex = -1;
      old.setAttribute("aria-selected", "false");
      chosen = [Math.min(Math.max(i, 0), rows - 1), Math.min(Math.max(j, 0), columns - 1)];
      const cell = cells[chosen[0]][chosen[1]];
      cell.tabIndex = 0;
      cell.setAttribute("aria-selected", "true");
      show(...chosen);
      say(...chosen);
      return cell;
    };
    const at = (event) => {
      const cell = event.target.closest("[role=gridcell]");
      return cell && [Number(cell.dataset.i), Number(cell.dataset.j)];
    };
    grid.addEventListener("pointerover", (event) => event.pointerType === "mouse" && at(event) && show(...at(event)));
    grid.addEventListener("pointerleave", () => show(...chosen));
    grid.addEventListener("click", (event) => at(event) && choose(at(event)).focus());
    grid.addEventListener("keydown", (event) => {
      const [i, j] = chosen;
      const all = event.ctrlKey || event.metaKey;
      const target = {
        ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1],
        Home: [all ? 0 : i, 0], End: [all ? rows - 1 : i, columns - 1],
      }[event.key];
      if (!target) return;
      event.preventDefault();
      event.stopPropagation();
      choose(target).focus();
    });
    return { grid, cells, choose, chosen: () => chosen };
  };

  // A table with a heading for each column and, if there are any, for each row; and its cells.
  const table = (caption, heads, rows, titles) => {
    const cells = range(rows).map(() => heads.slice(titles ? 1 : 0).map(() => make("td")));
    const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
    const body = cells.map((row, i) =>
      make("tr", {}, ...(titles ? [make("th", { scope: "row" }, titles[i])] : []), ...row));
    return { node: make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body)), cells };
  };

  // The k×k window of one pixel: each cell names its offset; a tap on it moves there.
  const windowTable = (caption, k, move) => {
    const half = (k - 1) / 2;
    const cells = range(k * k).map((index) => {
      const [down, right] = [Math.floor(index / k) - half, (index % k) - half];
      const parts = {
        value: make("b"), terms: make("small", { class: "terms" }),
        cell: make("td", down || right ? {} : { class: "centre" }, make("small", { class: "offset" }, `${number(down, 0)}, ${number(right, 0)}`)),
      };
      parts.cell.append(parts.value, parts.terms);
      parts.cell.addEventListener("click", () => move(down, right));
      return { ...parts, down, right };
    });
    const rows = range(k).map((a) => make("tr", {}, ...cells.slice(a * k, a * k + k).map(({ cell }) => cell)));
    const node = make("table", { class: "window" }, make("caption", {}, caption), make("tbody", {}, ...rows));
    return { node, cells };
  };

  const view = (...children) => make("div", { class: "view" }, ...children);
  const row = (...children) => make("div", { class: "row" }, ...children);
  const status = () => make("p", { role: "status" });
  const framed = (picture, caption) => make("figure", {}, picture, make("figcaption", {}, caption));

  // A map of pixels over an image, with the window of the one that is shown. `cut`: the window ends at the border;
  // otherwise it reaches into the zeros around the image.
  const windowMap = (label, n, k, cut, start, show, say) => {
    const half = (k - 1) / 2;
    const image = make("img", { alt: "" });
    const frame = make("i", { class: "frame" });
    const centre = make("i", { class: "centre" });
    const pixels = pixelGrid(label, n, n, start, show, say);
    const node = make("div", { class: "map" }, image, pixels.grid, frame, centre);
    const margin = cut ? 0 : half;
    node.style.setProperty("--n", n + 2 * margin);
    node.style.setProperty("--margin", margin);
    const box = (mark, top, left, bottom, right) => {
      const parts = { "--top": top + margin, "--left": left + margin, "--rows": bottom - top, "--columns": right - left };
      for (const [name, value] of Object.entries(parts)) mark.style.setProperty(name, value);
    };
    const outline = (i, j) => {
      const [low, high] = cut ? [0, n] : [-half, n + half];
      const bound = (value) => Math.min(Math.max(value, low), high);
      box(frame, bound(i - half), bound(j - half), bound(i + half + 1), bound(j + half + 1));
      box(centre, i, j, i + 1, j + 1);
    };
    return { node, image, outline, ...pixels };
  };

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
      choice("Filter", data.filters, (index) => { state.filter = index; draw(); }),
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
          paint(cell, entry, part === "weights" ? 1 : scale);
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
      choice("Head", data.heads, (index) => { state.head = index; draw(); }),
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
    const recall = table("recall: weight of each slot, %", ["stage", ...slots], stages.length, stages.map((s) => s + 1));
    const scores = table("class scores; ✓: the image is labelled so", ["class", "score", "softmax, %"], data.classes.length, data.classes);

    const show = (i, j) => {
      const [stage, m] = ringOf[i][j];
      centre.style.setProperty("--top", i);
      centre.style.setProperty("--left", j);
      heads.node.caption.textContent = `${place(i, j)}: share of ring ${stage}, %`;
      heads.cells[0].forEach((cell, head) => {
        const share = of("looks", stage, head)[m];
        cell.textContent = percent(share);
        paint(cell, share, 1);
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
        paint(cell, ring[m], largest(ring));
      });
      recall.cells.forEach((row, stage) => row.forEach((cell, slot) => {
        const share = of("recalls", stage)[slot];
        cell.textContent = share === undefined ? "" : percent(share);
        paint(cell, share, 1);
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
      choice("Head", data.heads, (index) => { state.head = index; draw(); }),
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
      this.attachShadow({ mode: "open" }).append(styles, build(data), make("slot", { name: "note" }));
    }
  });
})();
