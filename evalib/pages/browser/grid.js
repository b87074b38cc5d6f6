// Grids of pixels and tables of numbers: what the Explorer's views are made of.
const place = (i, j) => `row ${i + 1}, column ${j + 1}`;
const largest = (values) => Math.max(...values.filter((value) => value !== null).map(Math.abs), 1e-9);

// Blue for what is positive, orange for what is negative, the more opaque the larger.
const paint = (node, value, scale) => {
  node.style.setProperty("--share", (0.6 * Math.abs(value ?? 0)) / scale);
  node.classList.toggle("negative", value < 0);
};

const paintWeight = (node, weight) => node.style.setProperty("--share", ink(weight));

const pictures = (images, changed) =>
  choice("Image", images.map(({ name, src }) => make("img", { src, alt: name, title: name })), changed).node;

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
