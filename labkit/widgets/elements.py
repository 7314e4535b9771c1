"""What the live views of checks, predictions and traces have in common in the page: their look, and how elements are made."""

from __future__ import annotations

__all__ = ["page"]

ELEMENTS = """
    const LOOK = `
    .lk-view { margin: 4px 0; font: 13px var(--jp-ui-font-family, system-ui, sans-serif);
      color: var(--jp-ui-font-color1, CanvasText); --lk-mute: var(--jp-ui-font-color2, GrayText);
      --lk-line: var(--jp-border-color1, #8c959f); --lk-lit: var(--jp-brand-color1, Highlight);
      --lk-code: var(--jp-code-font-family, monospace); --lk-done: #1a7f37; --lk-waits: #9a6700; }
    [data-jp-theme-light=false] .lk-view { --lk-done: #3fb950; --lk-waits: #d29922; }
    .lk-view button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--lk-line);
      border-radius: 3px; padding: 2px 8px; cursor: pointer; }
    .lk-view summary { cursor: pointer; }
    .lk-view :focus-visible { outline: 2px solid var(--lk-lit); }`;

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
    """The JavaScript of a view, for anywidget: *script*, which may use what `ELEMENTS` has; its root is of the class lk-view."""
    return ELEMENTS + script
