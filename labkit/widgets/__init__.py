"""Pictures that follow a live engine, each with a text that says the same."""

from labkit.widgets.states import Picture, StateMachine, picture

__all__ = ["Picture", "StateMachine", "picture"]
