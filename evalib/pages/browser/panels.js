// What the network answered: stage by stage what EVA weighed, and what the answer was without each part.
const CELL = 32; // of the canvas, for one vector of the map
const most = (values) => values.indexOf(Math.max(...values));

// The picture under the map that EVA reads, pale, and on each of the `places` blue ink for its share. What is under a
// square hardly moves its colour, and a colour means the same share in each ring and each picture.
const mapOf = (network) => {
  const { extent, size, step } = network;
  const edge = size - extent * step; // EVA reads the last rows and columns
  const canvas = make("canvas", { width: CELL * extent, height: CELL * extent, role: "img" });
  const context = canvas.getContext("2d");
  const at = (place) => [Math.floor(place / extent), place % extent];
  const weigh = (picture, places, shares) => {
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, edge, edge, step * extent, step * extent, 0, 0, canvas.width, canvas.height);
    context.fillStyle = "rgb(255 255 255 / 0.5)";
    context.fillRect(0, 0, canvas.width, canvas.height);
    places.forEach((place, m) => {
      const square = [CELL * at(place)[1] + 1, CELL * at(place)[0] + 1, CELL - 2, CELL - 2];
      context.fillStyle = "rgb(255 255 255 / 0.86)";
      context.fillRect(...square);
      context.fillStyle = `rgb(47 111 181 / ${ink(shares[m]) / 0.65})`;
      context.fillRect(...square);
      context.strokeStyle = "rgb(47 111 181 / 0.5)";
      context.strokeRect(...square);
    });
  };
  const named = (place) => `row ${at(place)[0] + 1}, column ${at(place)[1] + 1}`;
  const corner = (place) => at(place).map((line) => edge + step * line);
  return { canvas, weigh, named, corner, step };
};

// One stage: the ring's weights on the picture, then the slots of the recall.
const stagePanel = (network, stage) => {
  const { ring } = network.stages[stage];
  const { canvas, weigh, named } = mapOf(network);
  const spread = make("p", { class: "spread" });
  const slots = bars("recalls", ["q0", ...range(stage + 1).map((each) => `attn${each}`)]);
  const title = ring.length === 1 ? "the centre" : `ring of ${ring.length}`;
  const node = make("li", {}, make("p", { class: "title" }, `${stage} · ${title}`), canvas, spread, slots.node);
  const show = (picture, { looks, recalls }, head) => {
    const chosen = (heads) => (head === 0 ? heads : [heads[head - 1]]);
    const shares = mean(chosen(looks[stage]));
    const pixels = chosen(looks[stage]).map(effective).reduce((sum, value, _, all) => sum + value / all.length, 0);
    weigh(picture, ring, shares);
    spread.textContent = ring.length === 1 ? "one pixel, no choice" : `spread over ${pixels.toFixed(1)} of ${ring.length}`;
    canvas.setAttribute("aria-label",
      `Stage ${stage}, ${title}: the largest weight, ${percent(Math.max(...shares))} %, lies at ${named(ring[most(shares)])} of the map.`);
    slots.show(mean(chosen(recalls[stage])));
  };
  return { node, show };
};

// The fall of the answer's softmax where each vector's pixels, with two around them, are hidden: one pass for each.
const hidingPanel = (network, grey, ask) => {
  const { extent, size, classes } = network;
  const { canvas, weigh, named, corner, step } = mapOf(network);
  const places = range(extent * extent);
  const [margin, told] = [2, make("p", { class: "spread", "aria-live": "polite" })];
  const state = { picture: null, pixels: null, answer: null };
  const without = (place) => {
    const pixels = state.pixels.slice();
    const [top, left] = corner(place);
    for (let i = top - margin; i < Math.min(top + step + margin, size); i++) {
      for (let j = left - margin; j < Math.min(left + step + margin, size); j++) pixels.set(grey, 3 * (i * size + j));
    }
    return pixels;
  };
  const run = async () => {
    const { picture, answer } = state;
    const c = most(answer.softmax);
    const falls = places.map(() => 0);
    for (const place of places) {
      const share = (await ask(without(place))).softmax[c];
      if (answer !== state.answer) return; // the picture is another by now
      falls[place] = answer.softmax[c] - share;
      weigh(picture, places, falls.map((fall) => Math.max(fall, 0)));
    }
    const worst = most(falls);
    told.textContent = falls[worst] <= 0 ? `hiding any part leaves ${classes[c]} as likely`
      : `most at ${named(worst)}: ${classes[c]} falls to ${percent(answer.softmax[c] - falls[worst])} %`;
    canvas.setAttribute("aria-label", `Where hiding a part lowers the answer: ${told.textContent}.`);
  };
  const node = make("li", {}, make("p", { class: "title" }, "which part counts"), canvas, told, press("hide each in turn", run));
  const show = (picture, pixels, answer) => {
    Object.assign(state, { picture, pixels: pixels.slice(), answer });
    weigh(picture, [], []);
    told.textContent = "";
    canvas.setAttribute("aria-label", "Which part counts: not yet asked.");
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
    ring.forEach((place, m) => {
      cells[place].textContent = percent(shares[m]);
      cells[place].className = `ring${stage}`;
      cells[place].style.setProperty("--share", ink(shares[m]));
    });
  });
  return { node, show };
};
