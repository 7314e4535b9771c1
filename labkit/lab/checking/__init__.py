"""Checks that follow an engine, and what helps with them."""

from labkit.lab.checking.checks import Check, Checks
from labkit.lab.checking.hints import Hint, Solution

__all__ = ["Check", "Checks", "Hint", "Solution"]
