// One switch a page: the cells that are folded away show their code, or none does. Without scripts each has its own.
document.addEventListener("DOMContentLoaded", () => {
  const cells = document.querySelectorAll(".bd-article details.above-input");
  const title = document.querySelector(".bd-article h1");
  if (!cells.length || !title) return;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "show-code" });
  const show = (shown) => {
    document.documentElement.classList.toggle("code-shown", shown);
    cells.forEach((cell) => { cell.open = shown; });
    button.textContent = shown ? "Hide the code" : "Show the code";
    button.setAttribute("aria-pressed", shown);
  };
  button.addEventListener("click", () => show(button.getAttribute("aria-pressed") !== "true"));
  document.documentElement.classList.add("one-switch");
  show(false);
  title.after(button);
});
