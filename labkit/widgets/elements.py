"""What the live views of checks, predictions and traces have in common in the page: how they make their elements."""

from __future__ import annotations

__all__ = ["page"]

ELEMENTS = """
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
"""


def page(script: str) -> str:
    """The JavaScript of a view, for anywidget: *script*, which may use `ELEMENTS`."""
    return ELEMENTS + script
