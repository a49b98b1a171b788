"""Verdict: a promise that a history shows to be broken."""

from __future__ import annotations

from typing import NamedTuple

from scripts.stress.outcome import Kind


class Verdict(NamedTuple):
    """The kind of the broken promise, and a description."""

    kind: Kind
    text: str
