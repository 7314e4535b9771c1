"""What makes a notebook teach: a lab's session, conditions for its checks, evidence that prints the same every time."""

from labkit.lab import evidence, needs, predictions, tidying, waiting
from labkit.lab.arguments import learner
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
from labkit.lab.opening import open
from labkit.lab.predictions import Prediction
from labkit.lab.sessions import Session
from labkit.lab.transcripts import Transcript, transcript

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

# what a notebook calls looks at what it is given; what a session calls has looked already
able = learner("labkit.lab.able")(needs.able)
freezer = learner("labkit.lab.freezer")(evidence.freezer)
happened = learner("labkit.lab.happened")(evidence.happened)
seconds = learner("labkit.lab.seconds")(evidence.seconds)
signals = learner("labkit.lab.signals")(evidence.signals)
undeletable = learner("labkit.lab.undeletable")(evidence.undeletable)
writable_layer = learner("labkit.lab.writable_layer")(evidence.writable_layer)
predict = learner("labkit.lab.predict")(predictions.predict)
reserve = learner("labkit.lab.reserve")(tidying.reserve)
tidy = learner("labkit.lab.tidy")(tidying.tidy)
inspected = learner("labkit.lab.inspected")(waiting.inspected)
said = learner("labkit.lab.said")(waiting.said)
state = learner("labkit.lab.state")(waiting.state)
until = learner("labkit.lab.until")(waiting.until)
until_says = learner("labkit.lab.until_says")(waiting.until_says)
watch = learner("labkit.lab.watch")(waiting.watch)
