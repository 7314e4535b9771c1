"""What a lab notebook needs beside the engine: predictions, waiting, evidence that prints the same every time."""

from labkit.lab.beginning import begin
from labkit.lab.commands import readable_commands
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
    "begin",
    "freezer",
    "happened",
    "inspected",
    "open",
    "predict",
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
    "watch",
    "writable_layer",
]
