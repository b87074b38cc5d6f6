// What the panels are made of.
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const range = (n) => Array.from({ length: n }, (_, index) => index);
const mean = (rows) => rows[0].map((_, m) => rows.reduce((sum, row) => sum + row[m], 0) / rows.length);
const number = (value, digits = 3) => {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) ? `−${text}` : text;
};
// The ink of an attention weight, the same on every page: its square root, so that small ones show.
const ink = (weight) => 0.65 * Math.sqrt(weight ?? 0);
const percent = (share) => number(100 * share, 1);
const span = (from, length) => (length === 1 ? `${from + 1}` : `${from + 1} to ${from + length}`);

// As many equally weighted places would leave the same entropy: 1 where all is on one, n where all n count alike.
const effective = (shares) => Math.exp(-shares.reduce((sum, share) => sum + (share ? share * Math.log(share) : 0), 0));

// One of several, as radio buttons: `changed` gets the index. `select` chooses without a word to `changed`.
const choice = (legend, names, changed) => {
  const buttons = names.map((name, index) => make("input", { type: "radio", name: legend, value: index }));
  const node = make("fieldset", {}, make("legend", {}, legend));
  buttons.forEach((button, index) => {
    button.addEventListener("change", () => changed(index));
    node.append(make("label", {}, button, make("span", {}, names[index])));
  });
  const select = (chosen) => buttons.forEach((button, index) => { button.checked = index === chosen; });
  select(0);
  return { node, select };
};

const press = (text, pressed) => {
  const button = make("button", { type: "button" }, text);
  button.addEventListener("click", pressed);
  return button;
};

// Rows of a name, a bar and a share. `show` fills them; a mark stands where each bar was `before`.
const bars = (caption, names) => {
  const rows = names.map((name) => {
    const [head, share] = [make("th", { scope: "row" }, name), make("td")];
    return { head, share, node: make("tr", {}, head, share) };
  });
  const node = make("table", { class: "bars" }, make("caption", {}, caption), make("tbody", {}, ...rows.map((row) => row.node)));
  const show = (shares, before) => shares.forEach((share, index) => {
    const cell = rows[index].share;
    cell.textContent = percent(share);
    cell.style.setProperty("--bar", share);
    cell.style.setProperty("--before", before ? before[index] : 0);
    cell.classList.toggle("moved", Boolean(before) && Math.abs(share - before[index]) >= 0.005);
  });
  return { node, rows, show };
};
