"""Tests here run containers out of memory."""

from tests.kernel_budget import kernel_budget

__all__ = ["kernel_budget"]
