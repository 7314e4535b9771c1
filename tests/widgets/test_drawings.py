"""The picture of the state machine."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from labkit.lifecycle import STATES, TRANSITIONS
from labkit.widgets.drawings import EDGES, PLACES, draw_states
from labkit.widgets.histories import describe, refused
from labkit.widgets.walks import Step

WAY = [
    Step("create", "removed", "created"),
    Step("start", "created", "running"),
    Step("pause", "running", "paused"),
]


def classes(svg: str, wanted: str) -> list[ET.Element]:
    return [
        e for e in ET.fromstring(svg).iter() if set(wanted.split()) <= set((e.get("class") or "").split())
    ]


def test_every_state_has_its_place() -> None:
    """All states are drawn, each once."""
    assert set(PLACES) == set(STATES)


def test_every_transition_is_drawn() -> None:
    """Each transition of the data lies on an edge; restart is drawn as the stop and start that it is."""
    drawn = {move for edge in EDGES for move in edge.moves}
    for t in TRANSITIONS:
        if t.cause != "restart" or t.source == "exited":
            assert (t.source, t.cause, t.target) in drawn or t.cause == "restart", t


def test_edges_stand_for_legal_moves_only() -> None:
    """No edge claims a move that the data do not have."""
    legal = {(t.source, t.cause, t.target) for t in TRANSITIONS}
    assert {move for edge in EDGES for move in edge.moves} <= legal


@pytest.mark.parametrize("state", STATES)
def test_exactly_the_present_state_is_lit(state: str) -> None:
    """One state is lit, and it is the present one."""
    (lit,) = classes(draw_states(state, WAY), "state now")
    assert state in (lit.get("class") or "").split()


def test_walked_edges_are_numbered_in_order() -> None:
    """Each step puts its number on the edge that it went along."""
    svg = draw_states("paused", WAY)
    assert [e.text for e in classes(svg, "step")] == ["1", "2", "3"]
    assert len(classes(svg, "edge walked")) == 3


def test_an_edge_walked_often_shows_every_number() -> None:
    """All numbers are there, in rows, up to ten; of more, the first and the last: a badge stays small."""

    def numbers(rounds: int) -> list[str | None]:
        pauses = [Step("pause", "running", "paused"), Step("unpause", "paused", "running")] * rounds
        return [e.text for e in classes(draw_states("running", [*WAY[:2], *pauses]), "step")][2:]

    assert numbers(5) == ["3 5 7 9 11", "4 6 8 10 12"]
    assert numbers(6) == ["3 5 7 9 11", "13", "4 6 8 10 12", "14"]
    assert numbers(60)[:2] == ["3 5 7 9 …", "113 115 117 119 121"]


def test_no_badge_lies_on_another_arrow_or_label() -> None:
    """Where the vertical arrows meet, five numbers on each still leave the neighbours' lines and labels free."""
    life = [
        Step(cause, *ways)
        for cause in ("stop", "process ends")
        for _ in range(5)
        for cause, ways in ((cause, ("running", "exited")), ("start", ("exited", "running")))
    ]
    svg = draw_states("running", life)
    boxes = [
        (float(e.get("x", 0)), float(e.get("x", 0)) + float(e.get("width", 0))) for e in classes(svg, "badge")
    ]
    lines = {"stop": 350, "start": 390}
    for left, right in boxes:
        assert sum(left < x < right for x in lines.values()) <= 1, (left, right)
    assert len(boxes) == 3


@pytest.mark.parametrize(
    ("policy", "own"),
    [
        ("no", "process ends → exited"),
        ("always", "process ends → restarting"),
        ("unless-stopped", "process ends → restarting"),
        ("on-failure", "process ends → exited; process ends → restarting"),
    ],
)
def test_what_happens_by_itself_depends_on_the_restart_policy(policy: str, own: str) -> None:
    """Without a policy no restart is told of, and with one that always restarts no end."""
    assert f"by itself:   {own}" in describe("web", "running", WAY[:2], policy).splitlines()


def test_the_same_facts_give_the_same_picture() -> None:
    """Nothing in the picture varies but the facts: it can be compared as text."""
    assert draw_states("paused", WAY, "web is paused") == draw_states("paused", list(WAY), "web is paused")


def test_names_are_escaped() -> None:
    """A title with special characters gives well-formed SVG."""
    ET.fromstring(draw_states("paused", WAY, '<web> & "co" is paused'))


def test_the_text_says_what_the_picture_shows() -> None:
    """The text has the present state, the way, where it can go from here, and what the engine refuses and how."""
    assert describe("web", "paused", WAY) == (
        "web is paused\n"
        "way so far:  1 create → created, 2 start → running, 3 pause → paused\n"
        "from here:   stop, kill → exited; unpause, restart → running; rm -f → removing\n"
        'refused:     create: Conflict. The container name "/web" is already in use by container "‹id›". You have to '
        "remove (or rename) that container to be able to reuse that name.\n"
        "             start: cannot start a paused container, try unpause instead\n"
        "             pause: Container ‹id› is already paused\n"
        "             exec: Container web is paused, unpause the container before exec\n"
        '             rm: cannot remove container "/web": container is paused and must be unpaused first'
    )


def test_refusals_are_in_the_engines_own_words() -> None:
    """Each version's words are its own, and a legal command is not among the refused ones."""
    assert "exec: Container ‹id› is not running" in "\n".join(refused("web", "exited", "20.10.24"))
    now = "\n".join(refused("web", "exited", "26.1.5"))
    assert "pause, exec: container ‹id› is not running" in now and "start" not in now


def test_the_present_state_says_on_hovering_what_is_refused() -> None:
    """The title of the lit state is the refusals; no other state has one."""
    (lit,) = classes(draw_states("paused", WAY, now="start: cannot start"), "state now")
    assert [title.text for title in lit] == ["start: cannot start"]
