"""The engine's events on lanes, with the cells during which they were."""

from __future__ import annotations

from labkit.engine import Engine
from labkit.observe import Cell, Event, timeline
from labkit.observe.timelines import OUTSIDE, in_order, moments

SECOND = 10**9
ADA = "a" * 64


def event(at: float, action: str, kind: str = "container", id_: str = ADA, **attributes: str) -> Event:
    return Event(int(at * SECOND), kind, action, id_, {"name": "ada", **attributes})


def told(events: list[Event], cells: list[Cell]) -> list[tuple[int | None, str, str]]:
    return [
        (each.cell.number if each.cell else None, each.lane, each.happened) for each in moments(events, cells)
    ]


def test_each_event_belongs_to_the_cell_that_ran_then() -> None:
    """Before, during, between and after; a cell that has not ended still runs."""
    cells = [Cell(3, "run", 10 * SECOND, 12 * SECOND), Cell(4, "pause", 20 * SECOND)]
    found = told([event(at, f"e{at}") for at in (9, 10, 12, 13, 99)], cells)
    assert [cell for cell, _, _ in found] == [None, 3, 3, None, 4]


def test_what_follows_at_once_belongs_to_the_act() -> None:
    """The end of a killed container is the doing of the cell that killed it, though the next has begun; a later one is not."""
    cells = [Cell(1, "kill", 0, SECOND), Cell(2, "next", SECOND + 1)]
    at_once = [event(0.95, "kill", signal="9"), event(1.1, "die", exitCode="137"), event(1.2, "start")]
    assert [cell for cell, _, _ in told(at_once, cells)] == [1, 1, 2]
    later = [event(0.95, "kill", signal="10"), event(1.8, "die", exitCode="0")]
    assert [cell for cell, _, _ in told(later, cells)] == [1, 2]


def test_what_ending_sets_off_has_one_order() -> None:
    """As 20.10 and as 26.1 tell it, it reads the same; another container's, and a later one's, stay where they are."""
    leave = {"kind": "network", "id_": "n" * 64, "name": "bridge", "container": ADA}
    old = [event(1, "die"), event(1.1, "disconnect", **leave), event(1.2, "stop")]
    new = [event(1, "disconnect", **leave), event(1.1, "stop"), event(1.2, "die")]
    assert [each.action for each in in_order(old)] == [each.action for each in in_order(new)]
    other = [event(1, "stop"), event(1.1, "die", id_="b" * 64), event(3, "die")]
    assert in_order(other) == other
    two = [
        event(1, "stop"),
        event(1.1, "die", id_="b" * 64),
        event(1.2, "die"),
        event(1.3, "stop", id_="b" * 64),
    ]
    assert [(each.action, each.id[0]) for each in in_order(two)] == [
        ("die", "a"),
        ("die", "b"),
        ("stop", "a"),
        ("stop", "b"),
    ]
    lives = [event(1, "die"), event(1.1, "start"), event(1.2, "stop"), event(1.3, "die")]
    assert [each.action for each in in_order(lives)] == ["die", "start", "die", "stop"]


def test_names_not_ids() -> None:
    """A container is told by its name wherever it is mentioned, an image by its first tag, ids and secrets not at all."""
    image = "sha256:" + "c" * 64
    found = told(
        [
            event(1, "create"),
            event(2, "connect", kind="network", id_="n" * 64, name="bridge", container=ADA),
            event(3, "tag", kind="image", id_=image, name="shop:1"),
            event(4, "untag", kind="image", id_=image, name=image),
            event(5, "exec_create: sh -c true"),
            event(5, "exec_start: sh -c true"),
            event(5, "exec_start: psql --password hunter22"),
            event(6, "mount", kind="volume", id_="d" * 64, name="", container="f" * 64),
        ],
        [],
    )
    assert [(lane, happened) for _, lane, happened in found] == [
        ("container ada", "create"),
        ("network bridge", "connect ada"),
        ("image shop:1", "tag shop:1"),
        ("image shop:1", "untag"),
        ("container ada", "exec sh -c true"),
        ("container ada", "exec psql --password ••••••"),
        ("volume ‹id›", "mount ‹id›"),
    ]


def test_moments_are_the_engines_events(engine: Engine) -> None:
    """A container's whole life on a live engine, in an order that does not depend on its version."""
    engine.client.containers.run("busybox:lab", ["sleep", "1000"], name="life", detach=True)
    engine.client.api.kill("life")
    engine.client.api.wait("life")
    engine.client.api.remove_container("life")
    found = timeline(engine)
    mine = [each.happened for each in found.moments if "life" in f"{each.lane} {each.happened}"]
    assert mine == [
        *("create", "connect life", "start", "kill (signal 9)"),
        *("die (exit code 137)", "disconnect life", "destroy"),
    ]
    assert {head for head, _ in found.groups} == {OUTSIDE} and not found.forgotten
