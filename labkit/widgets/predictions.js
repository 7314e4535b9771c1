let count = 0;

function render({ model, el }) {
  const { question, among } = model.get("asked"), group = `lk-question-${count++}`;
  const form = make("form"), box = make("fieldset", "lk-view lk-question", make("legend", "", question));
  const told = make("p"), commit = make("button", "", "This is my prediction");
  told.setAttribute("role", "status");
  const inputs = (among.length ? among : [null]).map((words, number) => {
    const input = make("input");
    input.name = group;
    if (words === null) {
      input.type = "text";
      input.autocomplete = "off";
      input.setAttribute("aria-label", "your prediction");
      input.addEventListener("keydown", event => {  // JupyterLab keeps Enter from a form's input
        if (event.key !== "Enter" || event.isComposing) return;
        event.preventDefault();
        form.requestSubmit();
      });
      box.append(input);
    } else {
      input.type = "radio";
      input.value = number;
      box.append(make("label", "", input, ` ${words}`));
    }
    return input;
  });
  box.append(make("div", "", commit), told);
  form.append(box);
  el.append(form);
  [...inputs, commit].forEach(ours);
  form.addEventListener("submit", event => {
    event.preventDefault();
    const answer = among.length ? inputs.findIndex(input => input.checked) : inputs[0].value;
    model.send(among.length ? { chosen: answer } : { typed: answer });
  });
  function draw() {
    const { answer, committed, closed, right, words } = model.get("shown");
    if (committed && among.length) inputs.forEach((input, number) => { input.checked = among[number] === answer; });
    if (committed && !among.length) inputs[0].value = answer;
    for (const control of [...inputs, commit]) control.disabled = closed;
    commit.hidden = closed;
    box.dataset.right = right === null ? "" : right ? "yes" : "no";
    if (told.textContent !== words) told.textContent = words;
  }
  draw();
  model.on("change:shown", draw);
  return () => model.off("change:shown", draw);
}
export default { render };
