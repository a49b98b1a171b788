"""Verdict: a promise that was not kept, in a history."""

from __future__ import annotations

from typing import NamedTuple

from scripts.stress.outcome import Kind


class Verdict(NamedTuple):
    """Of which kind it is, and what happened, in words."""

    kind: Kind
    what: str
