// Is it real? The runs of a table as dots that can be taken out, and what is left of a difference. The model is that of
// evalib/results/statistics.py: an accuracy is a network's mean plus a seed's effect plus noise, with one deviation for all.

const lnGamma = (x) => { // Lanczos, good to 1e-13 for x > 0.5
  const terms = [676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7];
  const t = x + 6.5;
  const sum = terms.reduce((total, term, n) => total + term / (x + n), 0.99999999999980993);
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
};
// The regularised incomplete beta function by its continued fraction (Lentz).
const beta = (x, a, b) => {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - beta(1 - x, b, a);
  const front = Math.exp(lnGamma(a + b) - lnGamma(a) - lnGamma(b) + a * Math.log(x) + b * Math.log(1 - x)) / a;
  const safe = (value) => (Math.abs(value) < 1e-300 ? 1e-300 : value);
  let [c, d] = [1, 1 / safe(1 - ((a + b) * x) / (a + 1))];
  let sum = d;
  for (let m = 1; m < 300; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / safe(1 + even * d);
    c = safe(1 + even / c);
    sum *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / safe(1 + odd * d);
    c = safe(1 + odd / c);
    sum *= d * c;
    if (Math.abs(d * c - 1) < 1e-15) break;
  }
  return front * sum;
};
const twoSided = (t, freedom) => beta(freedom / (freedom + t * t), freedom / 2, 0.5);
const student = (freedom, outside = 0.05) => { // the t that leaves `outside` on both sides together
  let [low, high] = [0, 1e7];
  for (let step = 0; step < 200; step++) {
    const t = (low + high) / 2;
    if (twoSided(t, freedom) > outside) low = t; else high = t;
  }
  return (low + high) / 2;
};

// What of `values` no sum of multiples of `columns` gives.
const unexplained = (columns, values) => {
  const basis = [];
  const without = (vector) => basis.reduce((left, unit) => {
    const along = left.reduce((sum, value, n) => sum + value * unit[n], 0);
    return left.map((value, n) => value - along * unit[n]);
  }, vector);
  for (const column of columns) {
    const rest = without(without(column)); // twice, for the digits
    const length = Math.hypot(...rest);
    if (length > 1e-9) basis.push(rest.map((value) => value / length));
  }
  return without(values);
};
// `networks`: {name, fits, runs: {seed: accuracy}}. The deviation of the noise and its degrees of freedom, or null.
const noise = (networks) => {
  const fitted = networks.filter(({ fits, runs }) => fits && Object.keys(runs).length > 1);
  const runs = fitted.flatMap(({ name, runs: each }) => Object.entries(each).map(([seed, value]) => ({ name, seed, value })));
  const seeds = [...new Set(runs.map(({ seed }) => seed))];
  const freedom = runs.length - fitted.length - seeds.length + 1;
  if (freedom < 1) return null;
  const columns = [...fitted.map(({ name }) => runs.map((run) => Number(run.name === name))), ...seeds.map((seed) => runs.map((run) => Number(run.seed === seed)))];
  const left = unexplained(columns, runs.map(({ value }) => value));
  return { deviation: Math.sqrt(left.reduce((sum, value) => sum + value * value, 0) / freedom), freedom, networks: fitted.length, runs: runs.length };
};
const difference = (networks, one, other, by) => {
  const [ones, others] = [one, other].map((name) => networks.find((each) => each.name === name)?.runs ?? {});
  const each = Object.keys(ones).filter((seed) => seed in others).map((seed) => ones[seed] - others[seed]);
  const n = each.length;
  if (!n) return { n, each };
  const middle = each.reduce((sum, value) => sum + value, 0) / n;
  if (!by || by.deviation < 1e-9) return { n, each, mean: middle };
  const error = by.deviation * Math.sqrt(2 / n);
  const reach = student(by.freedom) * error;
  return { n, each, mean: middle, low: middle - reach, high: middle + reach, p: twoSided(Math.abs(middle) / error, by.freedom) };
};
const holm = (ps) => {
  const corrected = ps.map(() => 1);
  let largest = 0;
  range(ps.length).sort((one, other) => ps[one] - ps[other]).forEach((index, rank) => {
    largest = Math.max(largest, Math.min(1, (ps.length - rank) * ps[index]));
    corrected[index] = largest;
  });
  return corrected;
};
const judged = (networks, family, seeds, level) => {
  const by = noise(networks);
  const found = family.map(([one, other]) => difference(networks, one, other, by));
  const corrected = holm(found.map(({ n, p }) => (n < seeds || p === undefined ? 1 : p)));
  return found.map((each, index) => {
    const p = corrected[index];
    const words = each.n < seeds ? "not yet decided" : p >= level ? "not distinguishable" : each.mean > 0 ? "supported" : "not supported";
    return { ...each, corrected: p, verdict: words, by };
  });
};

const points = (value, digits = 2) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
const chance = (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(p < 0.1 ? 3 : 2)}`);

const isItReal = ({ networks, families, seeds, level }, changed) => {
  const pairs = families.flatMap(({ title, pairs: each }, family) => each.map((pair, index) => ({ pair, family, index, title })));
  const named = Object.fromEntries(networks.map(({ name, title }) => [name, title]));
  let state = { split: "test", pair: 0, out: [] };
  const key = (name, seed) => `${name}.${seed}`;
  const left = (split, out) => networks.map(({ name, fits, runs }) => ({
    name, fits, runs: Object.fromEntries(runs.filter(({ seed }) => !out.includes(key(name, seed))).map((run) => [run.seed, run[split]])),
  }));
  const table = networks.filter(({ shown }) => shown);
  const near = table.flatMap(({ runs }) => runs.filter((run) => !run.collapsed).flatMap((run) => [run.test, run.validation]));
  const [low, high] = [Math.floor(2 * Math.min(...near)) / 2 - 0.25, Math.ceil(2 * Math.max(...near)) / 2 + 0.25];
  const at = (value) => 100 * Math.max(0, Math.min(1, (value - low) / (high - low)));

  const toggle = (id) => changed({ ...state, out: state.out.includes(id) ? state.out.filter((each) => each !== id) : [...state.out, id] });
  const rows = table.map(({ name, title, runs, paper, colour }) => {
    const dots = runs.map((run) => {
      const node = make("button", { type: "button", class: "run", style: `--lane: ${run.seed}` }, String(run.seed));
      node.addEventListener("click", () => toggle(key(name, run.seed)));
      return { run, node };
    });
    const middle = make("b", { class: "mean" });
    const line = make("div", { class: "line" }, middle, ...dots.map((dot) => dot.node));
    if (!runs.length) line.append(make("em", {}, "not yet trained in full"));
    const said = make("span", { class: "share" });
    return { name, dots, middle, said, node: make("li", { style: `--own: var(--${colour})` }, make("span", { class: "name" }, title, make("small", {}, paper ? `paper ${paper.toFixed(2)}` : "control")), line, said) };
  });
  const ticks = range(Math.floor(high) - Math.ceil(low) + 1).map((n) => Math.ceil(low) + n);
  const axis = make("div", { class: "line axis", "aria-hidden": "true" }, ...ticks.map((tick) => make("span", { style: `left: ${at(tick)}%` }, `${tick} %`)));
  const splits = choice("right of the", ["test pictures", "validation pictures"], (index) => changed({ ...state, split: ["test", "validation"][index] }));
  const ran = (name) => networks.some((each) => each.name === name && each.runs.length);
  const option = (index, one, other) => {
    const both = ran(one) && ran(other);
    return make("option", { value: index, ...(both ? {} : { disabled: "" }) }, `${named[one]} − ${named[other]}${both ? "" : ": not yet trained"}`);
  };
  const chooser = make("select", { "aria-label": "difference" }, ...families.map(({ title }, family) => make("optgroup", { label: title }, ...pairs.flatMap(({ pair: [one, other], family: of }, index) => (of === family ? [option(index, one, other)] : [])))));
  chooser.addEventListener("change", () => changed({ ...state, pair: Number(chooser.value) }));
  const [headline, interval, verdict, bar, zero, middle] = [make("strong"), make("p"), make("p", { class: "verdict" }), make("i"), make("s"), make("b")];
  const scale = make("div", { class: "interval", "aria-hidden": "true" }, zero, bar, middle);
  const back = press("all seeds back", () => changed({ ...state, out: [] }));
  back.classList.add("undo");
  const node = make("section", { class: "real", "data-part": "real" }, make("h2", {}, "Is it real?"),
    make("p", { class: "lead" }, "Each dot is one training from scratch. Press a dot to take it out, press it again to put it back, and see how much of the lead hangs on it."),
    make("div", { class: "halves" },
      make("div", {}, splits.node, make("ol", { class: "table" }, ...rows.map((row) => row.node), make("li", { "aria-hidden": "true" }, make("span"), axis, make("span")))),
      make("div", { class: "verdicts" }, make("p", {}, chooser), verdict, make("p", { class: "said" }, headline), scale, interval, back)));

  const show = (next) => {
    state = next;
    const { split, pair: index, out } = state;
    const kept = left(split, out);
    const { pair: [one, other], family, index: member } = pairs[index];
    const found = judged(kept, families[family].pairs, seeds, level)[member];
    rows.forEach(({ name, dots, middle: mark, said, node: row }) => {
      const values = Object.values(kept.find((each) => each.name === name).runs);
      const average = values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
      mark.hidden = average === null;
      if (average !== null) mark.style.left = `${at(average)}%`;
      said.textContent = average === null ? "–" : `${average.toFixed(2)} %`;
      row.classList.toggle("chosen", name === one || name === other);
      dots.forEach(({ run, node: dot }) => {
        const taken = out.includes(key(name, run.seed));
        dot.style.left = `${at(run[split])}%`;
        dot.setAttribute("aria-pressed", String(!taken));
        const label = `${named[name]}, seed ${run.seed}: ${run[split].toFixed(2)} %${run.collapsed ? ", collapsed" : ""}`;
        dot.setAttribute("aria-label", label);
        dot.title = label;
      });
    });
    splits.select(split === "test" ? 0 : 1);
    chooser.value = index;
    back.hidden = !out.length;
    headline.textContent = found.mean === undefined ? "no seed in common" : `${points(found.mean)} points`;
    const spread = found.low !== undefined;
    scale.hidden = !spread;
    if (spread) {
      const reach = 1.15 * Math.max(Math.abs(found.low), Math.abs(found.high), 1);
      const share = (value) => 50 + (50 * value) / reach;
      Object.assign(bar.style, { left: `${share(found.low)}%`, width: `${share(found.high) - share(found.low)}%` });
      middle.style.left = `${share(found.mean)}%`;
      node.dataset.found = JSON.stringify({ mean: found.mean, low: found.low, high: found.high, p: found.p, corrected: found.corrected, deviation: found.by.deviation, freedom: found.by.freedom, verdict: found.verdict });
    } else node.dataset.found = JSON.stringify({ n: found.n, mean: found.mean, verdict: found.verdict, corrected: found.corrected });
    interval.textContent = !found.n ? "Where one of the two has not been trained in full, there is nothing to compare."
      : !spread ? `${found.n} of ${seeds} seeds; too few runs are left to say what chance does.`
      : `95 % from ${points(found.low)} to ${points(found.high)}, over the ${found.n} seed${found.n > 1 ? "s" : ""} that both have. Chance alone moves one run by ${found.by.deviation.toFixed(2)} points (from all ${found.by.runs} full runs of ${found.by.networks} networks, more than stand here); ${chance(found.p)} before correction.`;
    const why = found.n < seeds ? `a verdict needs ${seeds} seeds of both` : `${chance(found.corrected)} after correcting for ${families[family].pairs.length} comparisons`;
    verdict.replaceChildren(make("b", {}, split === "test" ? found.verdict[0].toUpperCase() + found.verdict.slice(1) : "Validation decides nothing"), split === "test" ? `: ${why}.` : ": it stands beside the test.");
    return `${named[one]} minus ${named[other]}: ${headline.textContent}. ${verdict.textContent}`;
  };
  return { node, show, size: pairs.length, runs: networks.flatMap(({ name, runs }) => runs.map(({ seed }) => key(name, seed))) };
};
