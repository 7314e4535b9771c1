"""A live view in a page of a real browser, without a notebook: what a front end does for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import SECONDS, SHOTS

__all__ = ["mount", "page", "received", "refresh"]

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<body data-jp-theme-light="%s" style="margin:16px;%s"><div id="at"></div></body>"""
THEMES = {
    "light": "background:#fff;color-scheme:light",
    "dark": "background:#111;color-scheme:dark;--jp-ui-font-color1:#ddd;--jp-ui-font-color0:#fff;--jp-ui-font-color2:#aaa;"
    "--jp-layout-color1:#111;--jp-layout-color2:#222;--jp-border-color1:#666",
}
MOUNT = """async ([source, state]) => {
  const listeners = {};
  window.model = {
    get: name => state[name],
    set: (name, value) => { state[name] = value; },
    on: (name, call) => (listeners[name] ||= []).push(call),
    off: (name, call) => { listeners[name] = (listeners[name] || []).filter(each => each !== call); },
    send: message => window.toPython(JSON.stringify(message)),
    update: (name, value) => { state[name] = value; for (const call of listeners[`change:${name}`] || []) call(); },
  };
  const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const el = document.getElementById("at");
  window.unmount = module.default.render({ model: window.model, el });
}"""


@pytest.fixture(params=["light", "dark"])
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Page]:
    """An empty page in either theme, in which no error may happen."""
    page: Page = browser.new_page(viewport={"width": 760, "height": 420})
    page.set_default_timeout(SECONDS * 1000)
    expect.set_options(timeout=SECONDS * 1000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.set_content(PAGE % (str(request.param == "light").lower(), THEMES[request.param]))
    yield page
    assert errors == []
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{request.node.name.partition('[')[0]}-{request.param}.png")
    page.close()


def mount(page: Page, widget: Any) -> None:
    """Show *widget* in *page* as a front end does: its state goes there, its messages come here, both as JSON."""
    synced = [name for name in widget.trait_names(sync=True) if not name.startswith("_")]
    state = {name: getattr(widget, name) for name in synced if name in ("shown", "asked")}
    page.add_style_tag(content=widget._css)
    page.expose_function("toPython", lambda sent: received(widget, json.loads(sent)))
    page.evaluate(MOUNT, [widget._esm, json.loads(json.dumps(state))])


def received(widget: Any, message: Any) -> None:
    widget._handle_custom_msg(message, [])


def refresh(page: Page, widget: Any) -> None:
    """Bring the page the state that the widget has by now."""
    page.evaluate("shown => window.model.update('shown', shown)", json.loads(json.dumps(widget.shown)))
