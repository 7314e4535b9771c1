"""The picture of an engine's networks: each bridge with the containers that hang on it, and where their ports are reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import drawsvg as draw

from labkit.lab.arguments import learner
from labkit.observe import networks
from labkit.observe.networks import Endpoint, Network, NetworkMap, reached
from labkit.widgets.pictures import WIDTH, Picture, composed, hint, label, paragraph, width_of

if TYPE_CHECKING:
    from labkit.engine import Engine

__all__ = ["describe_map", "draw_map", "network_map"]

LEFT, RIGHT, INSIDE = 20, WIDTH - 20, WIDTH - 40
ACROSS, BETWEEN, SPINE = 3, 14, 16
"""Cards beside each other, the pixels between them, and what the bridge takes at their left."""
CARD = (INSIDE - SPINE - (ACROSS - 1) * BETWEEN) / ACROSS
BAR, DROP, LINE = 30, 26, 16
MOST = 3
"""Published ports that a card shows, and names that it lists."""

STYLE = """
.lk-map .bridge{fill:var(--soft);stroke:var(--lit);stroke-width:1.4}
.lk-map .other.bridge{stroke:var(--line);stroke-dasharray:5 4}
.lk-map .rail{stroke:var(--lit);stroke-width:3;stroke-linecap:round;opacity:.55}
.lk-map .veth{stroke:var(--lit);stroke-width:1.6}
.lk-map .unknown.veth{stroke:var(--line);stroke-dasharray:3 4}
.lk-map .end{fill:var(--paper);stroke:var(--lit);stroke-width:1.6}
.lk-map text.port{fill:var(--good)}
"""


@learner("network_map")
def network_map(engine: Engine, *, exact: bool = False) -> Picture:
    """The networks of *engine* as they are now.

    *exact*: also names and indexes of the interfaces on the engine's host, which are others each time.
    """
    found = networks.network_map(engine)
    return Picture(draw_map(found, exact=exact), describe_map(found, exact=exact))


def describe_map(found: NetworkMap, *, exact: bool = False) -> str:
    """The picture in words: a network after the other, with its containers in the order of their addresses."""
    lines = [_title(found)]
    for network in found.networks:
        lines.append(f"{_name(network, exact)}: {_range(network)}")
        for each in network.endpoints:
            first, *rest = _card(each, exact)
            told = [first, *filter(None, [_veth(each, exact)]), *rest]
            lines.append(f"  {each.container}: {'; '.join(told)}")
    return "\n".join([*lines, *_notes(found)])


def _title(found: NetworkMap) -> str:
    count = len({each.container for network in found.networks for each in network.endpoints})
    count += sum(len(each.guests) for each in _firsts(found)) + len(found.on_host) + len(found.alone)
    return f"networks on the host {found.host}: {len(found.networks)}; running containers: {count}"


def _firsts(found: NetworkMap) -> list[Endpoint]:
    """Each container's first endpoint."""
    return list({each.container: each for network in found.networks for each in network.endpoints}.values())


def _name(network: Network, exact: bool) -> str:
    bridge = f"bridge {network.bridge}" if network.bridge and (exact or network.own_name) else network.driver
    return f"{network.name} ({bridge})"


def _range(network: Network) -> str:
    parts = [", ".join(network.subnets) or "no subnet"]
    parts += [f"gateway {', '.join(network.gateways)}"] if network.gateways else []
    parts += ["internal: no way out"] if network.internal else []
    return ", ".join([*parts, *([] if network.endpoints else ["no container"])])


def _card(each: Endpoint, exact: bool) -> list[str]:
    """What is told of a container on a network, a line each."""
    index = f"({each.pair.inside_index})" if each.pair and exact else ""
    lines = [" ".join(filter(None, [each.interface, index, each.address])) or "no address"]
    lines += [reached(port) for port in each.ports[:MOST]]
    if len(each.ports) > MOST:
        lines.append(f"and {len(each.ports) - MOST} more ports")
    lines += [f"also on {_some(each.others)}"] if each.others else []
    return lines + ([f"its interfaces are used by {_some(each.guests)}"] if each.guests else [])


def _veth(each: Endpoint, exact: bool) -> str:
    """What is told of the line between a container and the bridge."""
    if each.pair is None:
        return ""
    return f"veth pair with {each.pair.outside} ({each.pair.outside_index})" if exact else "veth pair"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST]) + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def _notes(found: NetworkMap) -> list[str]:
    """Who has no network of their own, and what could not be read and why."""
    kinds = {
        "host (no network of its own, the host's interfaces)": found.on_host,
        "none (only loopback)": found.alone,
        "not running, so without an address": found.idle,
    }
    notes = [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
    if found.unread is not None:
        notes.append(f"{found.unread.source}: not readable ({found.unread.reason})")
    return notes


# -- drawing


def draw_map(found: NetworkMap, *, exact: bool = False) -> str:
    """*found* as SVG.  The same arguments give the same text."""
    parts: list[draw.DrawingElement] = [label(_title(found), (LEFT, 28), "title", width=INSIDE)]
    y = 44.0
    for network in found.networks:
        y = _draw_network(parts, network, y, exact)
    y += 10
    for note in _notes(found):
        y = paragraph(parts, note, (LEFT, y), INSIDE)
    return composed(parts, y - 2, "map", describe_map(found, exact=exact), STYLE)


def _draw_network(parts: list[draw.DrawingElement], network: Network, y: float, exact: bool) -> float:
    look = "bridge" if network.bridge else "other bridge"
    parts.append(draw.Rectangle(LEFT, y, INSIDE, BAR, rx=6, class_=look))
    about = _range(network)
    wide = min(width_of(about, "small"), INSIDE / 2)
    parts.append(label(_name(network, exact), (LEFT + 14, y + 20), "strong", width=INSIDE - 44 - wide))
    parts.append(label(about, (RIGHT - 14, y + 20), "small", width=INSIDE / 2, anchor="end"))
    if not network.endpoints:
        return y + BAR + 12
    rail, below = y + BAR, y + BAR
    for start in range(0, len(network.endpoints), ACROSS):
        row = network.endpoints[start : start + ACROSS]
        if start:
            below += 8
            _draw_rail(parts, rail, below, len(row))
            rail = below
        below = _draw_row(parts, row, below, exact)
    return below + 12


def _draw_rail(parts: list[draw.DrawingElement], above: float, y: float, cards: int) -> None:
    """The bridge goes on: down at the left, and along above the next row."""
    right = LEFT + SPINE + (cards - 1) * (CARD + BETWEEN) + 20
    parts.append(draw.Path(f"M{LEFT + 5},{above:g} V{y:g} H{right:g}", class_="rail", fill="none"))


def _draw_row(parts: list[draw.DrawingElement], row: Sequence[Endpoint], y: float, exact: bool) -> float:
    """The containers of one row, as high as the one with the most to tell; *y*: where the bridge is."""
    lines = [_card(each, exact) for each in row]
    height = 30 + LINE * max(map(len, lines))
    for column, (each, told) in enumerate(zip(row, lines, strict=True)):
        left = LEFT + SPINE + column * (CARD + BETWEEN)
        card = draw.Rectangle(left, y + DROP, CARD, height, rx=6, class_="box")
        parts.append(hint(card, "\n".join([each.container, *told])))
        parts.append(label(each.container, (left + 12, y + DROP + 20), "strong", width=CARD - 24))
        for number, line in enumerate(told, 1):
            look = "small mono" if number == 1 else "small port" if "→" in line else "small"
            at = (left + 12, y + DROP + 20 + LINE * number)
            parts.append(label(line, at, look, width=CARD - 24))
        _draw_veth(parts, each, left + 20, y, exact)
    return y + DROP + height


def _draw_veth(parts: list[draw.DrawingElement], each: Endpoint, x: float, y: float, exact: bool) -> None:
    """The pair as a line with its two ends; dashed where no pair is known."""
    look = "veth" if each.pair else "unknown veth"
    parts.append(draw.Line(x, y, x, y + DROP, class_=look))
    for end in (y, y + DROP) if each.pair else ():
        parts.append(draw.Circle(x, end, 3.5, class_="end"))
    parts.append(label(_veth(each, exact), (x + 9, y + 17), "small", width=CARD - 40))
