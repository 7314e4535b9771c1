"""What a check can want of an engine, in words that read well in a cell.

``container("web").exited(143)`` makes a `Condition`; its ``read`` looks and gives a `Reading`.  A module a kind of object; a new
condition is a method that says where it looks, what it expects, and how it tells.
"""

from labkit.lab.conditions.base import Condition, Reading, Seen
from labkit.lab.conditions.containers import container
from labkit.lab.conditions.facts import Facts, Key, Missing, NotReadable, Unanswered
from labkit.lab.conditions.images import image
from labkit.lab.conditions.others import any_of, in_turn, nothing_else
from labkit.lab.conditions.reaching import reachable
from labkit.lab.conditions.stores import network, volume

__all__ = [
    "Condition",
    "Facts",
    "Key",
    "Missing",
    "NotReadable",
    "Reading",
    "Seen",
    "Unanswered",
    "any_of",
    "container",
    "image",
    "in_turn",
    "network",
    "nothing_else",
    "reachable",
    "volume",
]
