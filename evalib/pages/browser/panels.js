// What the network answered: its classes, and stage by stage what EVA weighed.
const CELL = 32; // of the canvas, for one vector of the map

// One stage: the ring's weights as light on the picture, then the slots of the recall.
const stagePanel = (network, stage) => {
  const { extent, size } = network;
  const { ring } = network.stages[stage];
  const step = network.blocks.reduce((product, { first }) => product * first.stride, network.stem.stride);
  const edge = size - extent * step; // EVA reads the last rows and columns
  const canvas = make("canvas", { width: CELL * extent, height: CELL * extent, role: "img" });
  const spread = make("p", { class: "spread" });
  const slots = bars("recalls", ["q0", ...range(stage + 1).map((each) => `attn${each}`)]);
  const title = ring.length === 1 ? "the centre" : `ring of ${ring.length}`;
  const node = make("li", {}, make("p", { class: "title" }, `${stage} · ${title}`), canvas, spread, slots.node);
  const context = canvas.getContext("2d");

  const light = (picture, shares) => {
    const top = Math.max(...shares);
    const lay = (i, j, n) => context.drawImage(picture, edge + step * j, edge + step * i, step * n, step * n, CELL * j, CELL * i, CELL * n, CELL * n);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 1;
    lay(0, 0, extent);
    context.fillStyle = "rgb(17 22 29 / 0.72)";
    context.fillRect(0, 0, canvas.width, canvas.height);
    ring.forEach((pixel, m) => {
      const [i, j] = [Math.floor(pixel / extent), pixel % extent];
      context.globalAlpha = shares[m] / top;
      lay(i, j, 1);
      context.globalAlpha = 0.15 + (0.85 * shares[m]) / top;
      context.strokeStyle = "#ffb454";
      context.lineWidth = 2;
      context.strokeRect(CELL * j + 1, CELL * i + 1, CELL - 2, CELL - 2);
    });
  };
  const show = (picture, { looks, recalls }, head) => {
    const chosen = (heads) => (head === 0 ? heads : [heads[head - 1]]);
    const shares = mean(chosen(looks[stage]));
    const largest = shares.indexOf(Math.max(...shares));
    const pixels = chosen(looks[stage]).map(effective).reduce((sum, value, _, all) => sum + value / all.length, 0);
    const place = `row ${Math.floor(ring[largest] / extent) + 1}, column ${(ring[largest] % extent) + 1}`;
    light(picture, shares);
    spread.textContent = ring.length === 1 ? "one pixel, no choice" : `spread over ${pixels.toFixed(1)} of ${ring.length}`;
    canvas.setAttribute("aria-label", `Stage ${stage}, ${title}: the largest weight, ${percent(shares[largest])} %, lies at ${place}.`);
    slots.show(mean(chosen(recalls[stage])));
  };
  return { node, show };
};

// All weights in figures: the 7×7 map, in which each ring sums to 100, and the recalls.
const numbers = (network) => {
  const { extent, stages } = network;
  const cells = range(extent * extent).map(() => make("td"));
  const map = make("table", { class: "map" }, make("caption", {}, "weights of the map, %; each ring sums to 100"),
    make("tbody", {}, ...range(extent).map((i) => make("tr", {}, ...cells.slice(extent * i, extent * (i + 1))))));
  const node = make("details", {}, make("summary", {}, "The weights in figures"), map);
  const show = ({ looks }, head) => stages.forEach(({ ring }, stage) => {
    const shares = head === 0 ? mean(looks[stage]) : looks[stage][head - 1];
    ring.forEach((pixel, m) => {
      cells[pixel].textContent = percent(shares[m]);
      cells[pixel].className = `ring${stage}`;
      cells[pixel].style.setProperty("--share", 0.6 * shares[m] / Math.max(...shares));
    });
  });
  return { node, show };
};
