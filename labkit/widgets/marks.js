function render({ model, el }) {
  const box = make("section", "lk-view lk-check");
  const mark = make("span", "lk-mark"), verdict = make("span", "");
  mark.setAttribute("aria-hidden", "true");
  const line = make("p", "lk-verdict", mark, verdict);
  line.setAttribute("role", "status");
  const list = make("ul"), hints = make("div"), ask = make("button", "", "Show one solution");
  const solution = make("div", "lk-prose");
  ask.type = "button";
  solution.tabIndex = -1;
  solution.setAttribute("role", "region");
  solution.setAttribute("aria-label", "one solution");
  const asking = make("p", "lk-ask", ask);
  box.append(line, list, hints, asking, solution);
  ours(ask);
  el.append(box);

  const reading = ({ ok, text }) => make("li", ok ? "lk-holds" : "lk-fails", `${ok ? "✓" : "✗"} ${text}`);
  const folded = new Map();  // by number, so that one that is unfolded stays so
  function fold({ number, title, html }) {
    if (folded.has(number)) return folded.get(number);
    const words = make("div", "lk-prose"), summary = ours(make("summary", "", title));
    const details = make("details", "", summary, words);
    words.innerHTML = html;
    details.addEventListener("toggle", () => {
      if (details.open && !details.dataset.told) {
        details.dataset.told = "yes";
        model.send({ kind: "hint", number });
      }
    });
    folded.set(number, details);
    return details;
  }
  let asked = false;
  ask.addEventListener("click", () => {
    asked = true;
    ask.disabled = true;
    ask.textContent = "asked for; it comes when the cell that runs has ended";
    model.send({ kind: "solution" });
  });
  function put(parent, nodes) {  // leaves alone what is there already: what has the focus keeps it
    if (nodes.length !== parent.children.length || nodes.some((node, n) => parent.children[n] !== node))
      parent.replaceChildren(...nodes);
  }
  function draw() {
    const { name, state, words, readings, hints: given, solution: told, solvable } = model.get("shown");
    box.dataset.state = state;
    box.setAttribute("aria-label", `check ${name}`);
    mark.textContent = { done: "✓", "not-yet": "○" }[state] || "?";
    if (verdict.textContent !== words) verdict.textContent = words;
    list.replaceChildren(...readings.map(reading));
    put(hints, given.map(fold));
    asking.hidden = !solvable || Boolean(told);
    if (told && solution.innerHTML === "") {
      solution.innerHTML = told;
      if (asked) solution.focus();
    }
  }
  draw();
  model.on("change:shown", draw);
  return () => model.off("change:shown", draw);
}
export default { render };
