"""What makes a notebook teach: a lab's session, conditions for its checks, evidence that prints the same every time."""

from labkit.lab.commands import readable_commands
from labkit.lab.conditions import (
    any_of,
    container,
    image,
    in_turn,
    network,
    nothing_else,
    reachable,
    volume,
)
from labkit.lab.evidence import freezer, happened, seconds, signals, undeletable, writable_layer
from labkit.lab.needs import able
from labkit.lab.opening import open
from labkit.lab.predictions import Prediction, predict
from labkit.lab.sessions import Session
from labkit.lab.tidying import reserve, tidy
from labkit.lab.transcripts import Transcript, transcript
from labkit.lab.waiting import inspected, said, state, until, until_says, watch

__all__ = [
    "Prediction",
    "Session",
    "Transcript",
    "able",
    "any_of",
    "container",
    "freezer",
    "happened",
    "image",
    "in_turn",
    "inspected",
    "network",
    "nothing_else",
    "open",
    "predict",
    "reachable",
    "readable_commands",
    "reserve",
    "said",
    "seconds",
    "signals",
    "state",
    "tidy",
    "transcript",
    "undeletable",
    "until",
    "until_says",
    "volume",
    "watch",
    "writable_layer",
]
