function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}

function ours(node) {  // its keys are not the notebook's commands
  node.setAttribute("data-lm-suppress-shortcuts", "true");
  return node;
}
