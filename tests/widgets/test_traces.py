"""The three views of a traced command as tabs, in a real browser; the same facts as the text."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from labkit.lab.tracing.repeating import Performed
from labkit.lab.tracing.traces import Command, Step, Trace
from labkit.widgets.traces import view
from tests.browser import SHOTS
from tests.widgets.mounting import mount, page

__all__ = ["page"]

CREATE = Step(
    "POST",
    "/v1.45/containers/create?name=web",
    201,
    0.0471,
    sent='{"Image": "busybox:lab", "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}}',
    answered='{"Id": "‹web›", "Warnings": []}',
    code='container = api.create_container("busybox:lab", name="web", '
    'host_config={"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}})["Id"]',
    performed=Performed(0.0389),
)
START = Step(
    "POST",
    "/v1.45/containers/‹web›/start",
    204,
    0.25,
    code="api.start(container)",
    performed=Performed(why="port 8080 can be published only once"),
)
PING = Step(
    "HEAD", "/_ping", 200, 0.001, performed=Performed(why="docker-py asks GET /version when it connects")
)
TRACE = Trace(
    Command("docker run -d --name web -p 8080:80 busybox:lab", 0, "‹id›\n<b>not bold</b>\n", 0.41),
    (PING, CREATE, START),
)


def test_three_views_as_tabs(page: Page, request: pytest.FixtureRequest) -> None:
    """One view is shown at a time, chosen by mouse or keys; each line of the text is there, with its time; bodies unfold."""
    widget = view(TRACE)
    mount(page, widget)
    tabs, panel = page.get_by_role("tab"), page.get_by_role("tabpanel")
    assert tabs.count() == 3 and panel.count() == 1
    expect(panel).to_contain_text("exit code 0")
    expect(panel).to_contain_text("410.0 ms")
    expect(panel).to_contain_text("<b>not bold</b>")
    tabs.nth(0).press("ArrowRight")
    expect(tabs.nth(1)).to_be_focused()
    expect(panel).to_contain_text("POST /v1.45/containers/‹web›/start → 204")
    body = panel.locator("pre").filter(has_text='"HostPort": "8080"')
    expect(body).to_be_hidden()
    panel.get_by_text("create?name=web").click()
    expect(body).to_be_visible()
    SHOTS.mkdir(exist_ok=True)
    theme = request.node.callspec.params["page"]
    page.screenshot(path=SHOTS / f"trace-requests-{theme}.png")
    tabs.nth(2).click()
    expect(panel).to_contain_text("not executed: port 8080 can be published only once")
    expect(panel).to_contain_text("38.9 ms")
    for step in TRACE.steps:
        expect(panel).to_contain_text(step.code or step.call)
    page.screenshot(path=SHOTS / f"trace-calls-{theme}.png")
    tabs.nth(2).press("ArrowRight")
    expect(tabs.nth(0)).to_have_attribute("aria-selected", "true")


def test_the_live_view_tells_what_the_text_tells() -> None:
    """Nothing of the text is missing in what the page is given, and printed it is the text with its times."""
    widget = view(TRACE)
    assert repr(widget) == TRACE.times
    told = str(widget.shown)
    for step in TRACE.steps:
        assert step.request in told and (step.code or step.call) in told
    assert TRACE.command.line in told
