"""What changed on an engine between two looks."""

from labkit.lab.changes.comparing import Change, Changes
from labkit.lab.changes.looks import Aside, Looks

__all__ = ["Aside", "Change", "Changes", "Looks"]
