"""Check: what was looked at, how it is, and what to do where it is not well."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Verdict = Literal["ok", "warn", "fail"]
_WORST_FIRST: tuple[Verdict, ...] = ("fail", "warn", "ok")
_MANY = 5


class Check(NamedTuple):
    """One finding: what was looked at, how it is, in words, and what to do where it is not ok."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON shape."""
        return self._asdict()


class Finding(NamedTuple):
    """One thing that is not as it should be, and what to do about it."""

    verdict: Verdict
    found: str
    remedy: str


def conclude(name: str, findings: Sequence[Finding], otherwise: str) -> Check:
    """Make one check of all findings, as bad as the worst of them; where there is none it is ok, `otherwise`."""
    if not findings:
        return Check(name, "ok", otherwise)
    verdict = next(verdict for verdict in _WORST_FIRST if any(one.verdict == verdict for one in findings))
    ordered = sorted(findings, key=lambda one: _WORST_FIRST.index(one.verdict))
    remedies = dict.fromkeys(one.remedy for one in ordered if one.remedy)
    return Check(name, verdict, "; ".join(one.found for one in ordered), "; ".join(remedies))


def listed(things: Sequence[object]) -> str:
    """Name things in words, the first of many."""
    shown = ", ".join(map(str, things[:_MANY]))
    return f"{shown} and {len(things) - _MANY} more" if len(things) > _MANY else shown


def command(*words: object) -> str:
    """Return a command as a shell takes it, whatever its words hold."""
    return f"`{shlex.join(map(str, words))}`"
