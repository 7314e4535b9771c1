let count = 0;

const row = (ms, ...what) => make("div", "lk-row", make("span", "lk-ms", ms), make("div", "", ...what));
const code = text => make("code", "", text);

function typed({ command }) {
  return [
    row(command.ms, code(command.line)),
    row("", make("pre", "", command.output)),
    row("", make("p", "lk-code", command.end)),
  ];
}
function sent({ steps }) {
  return steps.map(({ ms, request, bodies }) => {
    if (!bodies.length) return row(ms, code(request));
    const folded = make("details", "", make("summary", "", code(request)));
    for (const { title, text } of bodies) folded.append(make("div", "lk-why", title), make("pre", "", text));
    return row(ms, folded);
  });
}
function called({ begin, steps }) {
  const lines = steps.map(({ call_ms, code: text, why }) =>
    row(call_ms, ...(text ? [code(text)] : []), ...(why ? [make("div", "lk-why", why)] : [])));
  return [row("", code(begin)), ...lines];
}

function render({ model, el }) {
  const shown = model.get("shown"), own = `lk-trace-${count++}`;
  const list = make("div"), box = make("section", "lk-view lk-trace", list);
  box.setAttribute("aria-label", shown.command.line);
  list.setAttribute("role", "tablist");
  const tabs = [], panels = [];
  function choose(number, focus) {
    tabs.forEach((tab, n) => {
      tab.setAttribute("aria-selected", n === number);
      tab.tabIndex = n === number ? 0 : -1;
      panels[n].hidden = n !== number;
    });
    if (focus) tabs[number].focus();
  }
  [typed, sent, called].forEach((fill, n) => {
    const tab = make("button", "", shown.headings[n], make("small", "", shown.totals[n]));
    const panel = make("div", "", ...fill(shown));
    Object.assign(tab, { type: "button", id: `${own}-tab-${n}` });
    Object.assign(panel, { id: `${own}-panel-${n}`, tabIndex: 0 });
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => choose(n));
    tab.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      choose((n + step + 3) % 3, true);
    });
    tabs.push(tab);
    panels.push(panel);
  });
  list.append(...tabs);
  box.append(...panels);
  choose(0);
  el.append(box);
}
export default { render };
