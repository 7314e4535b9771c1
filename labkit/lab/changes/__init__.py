"""What changed on an engine between two looks."""

from labkit.lab.changes.comparing import Change, Changes
from labkit.lab.changes.looks import Aside, Looks
from labkit.lab.changes.snapshots import UNNAMED

__all__ = ["UNNAMED", "Aside", "Change", "Changes", "Looks"]
