"""What a notebook shows that is live or can be pressed, each with a text that says the same.

Each name is imported when it is first used: a runbook that is executed without a person needs no widget.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.widgets.maps import network_map
    from labkit.widgets.meters import UsageMeter, usage
    from labkit.widgets.pictures import Picture
    from labkit.widgets.plans import Decision, decision
    from labkit.widgets.stacks import layers
    from labkit.widgets.states import StateMachine, picture, state_machine
    from labkit.widgets.timelines import timeline

__all__ = [
    "Decision",
    "Picture",
    "StateMachine",
    "UsageMeter",
    "decision",
    "layers",
    "network_map",
    "picture",
    "state_machine",
    "timeline",
    "usage",
]

_HOMES = {
    "maps": ["network_map"],
    "meters": ["UsageMeter", "usage"],
    "pictures": ["Picture"],
    "plans": ["Decision", "decision"],
    "stacks": ["layers"],
    "timelines": ["timeline"],
    "states": ["StateMachine", "picture", "state_machine"],
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"labkit.widgets.{home}"), name)
    raise AttributeError(f"module 'labkit.widgets' has no attribute {name!r}")
