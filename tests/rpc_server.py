"""A server in a process of its own, and a client that speaks to it in bare lines."""

from __future__ import annotations

from scripts.harness.line import Line
from scripts.harness.served import Served

__all__ = ["Line", "Served"]
