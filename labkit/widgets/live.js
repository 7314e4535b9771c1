const CHANGES = ["change:svg", "change:more"];

// in a view of its own (Create New View for Cell Output) the picture is as large as the pane
function fit(svg, pane) {
  const { width, height } = svg.viewBox.baseVal;
  const scale = Math.min((pane.clientWidth - 24) / width, (pane.clientHeight - 24) / height);
  if (scale > 0) svg.style.cssText = `width:${scale * width}px;min-width:0;max-width:none;height:auto`;
}

function render({ model, el }) {
  const picture = make("div", "lk-picture"), summary = ours(make("summary")), words = make("pre");
  const more = make("details", "", summary, words);
  const now = () => picture.querySelector("svg");
  let pane = null;
  function resize() {
    if (pane && now()) fit(now(), pane);
  }
  function draw() {
    picture.innerHTML = model.get("svg");
    now().setAttribute("aria-label", model.get("text"));
    const [first, ...lines] = model.get("more").split("\n");
    more.hidden = !first;
    summary.textContent = first;
    words.textContent = lines.join("\n");
    resize();
  }
  el.append(make("div", "lk-view lk-live", picture, more));
  draw();
  const resized = new ResizeObserver(resize);
  requestAnimationFrame(() => {  // by then it is in the page
    pane = el.closest(".jp-LinkedOutputView");
    if (pane) resized.observe(pane);
    resize();
  });
  for (const name of CHANGES) model.on(name, draw);
  return () => {
    for (const name of CHANGES) model.off(name, draw);
    resized.disconnect();
  };
}
export default { render };
