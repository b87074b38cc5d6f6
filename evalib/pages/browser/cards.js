// Nine cards, one idea each: a card lights up one part and asks for a guess; then it sets the machine and opens the chapter.
const deck = (cards, opened, answered) => {
  let [open, guessed] = [null, cards.map(() => null)];
  const chips = cards.map(({ title }, index) => {
    const node = make("button", { type: "button", class: "chip" }, make("b", {}, String(index + 1)), title);
    node.addEventListener("click", () => opened(open === index ? null : index));
    return node;
  });
  const panel = make("div", { class: "card", role: "group", hidden: "" });
  const fill = () => {
    const { title, ask, options, right, tell, href, chapter } = cards[open];
    const guess = guessed[open];
    const buttons = options.map((option, index) => {
      const node = press(option, () => { guessed[open] = index; fill(); answered(open); panel.querySelector(".told").focus(); });
      if (guess !== null) node.className = index === right ? "right" : index === guess ? "wrong" : "";
      node.setAttribute("aria-pressed", String(guess === index));
      return node;
    });
    const told = make("p", { class: "told", tabindex: -1 });
    if (guess !== null) told.append(make("b", {}, guess === right ? "Yes. " : "Not quite. "), `${tell} `, make("a", { href }, chapter));
    const move = (change) => pressed(change < 0 ? "previous card" : "next card", () => opened(open + change), change < 0 ? "‹" : "›");
    const [back, on, close] = [move(-1), move(1), pressed("close", () => opened(null), "×")];
    back.disabled = open === 0;
    on.disabled = open === cards.length - 1;
    panel.setAttribute("aria-label", `card ${open + 1} of ${cards.length}: ${title}`);
    panel.replaceChildren(make("div", { class: "top" }, make("h3", {}, `${open + 1} · ${title}`), back, on, close),
      make("p", {}, ask), make("div", { class: "options" }, ...buttons), told);
    chips.forEach((chip, index) => chip.classList.toggle("done", isAnswered(index)));
  };
  const node = make("section", { class: "deck" }, make("h2", {}, "Nine ideas, a guess each"), make("div", { class: "chips" }, ...chips));
  const show = (index) => {
    open = index;
    panel.hidden = open === null;
    chips.forEach((chip, each) => chip.setAttribute("aria-expanded", String(each === open)));
    if (open !== null) fill();
  };
  const isAnswered = (index) => guessed[index] !== null;
  const asking = () => open !== null && !isAnswered(open);
  return { node, panel, show, asking, isAnswered };
};
