"""Check: what was looked at, how it is, and what to do where it is not well."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Verdict = Literal["ok", "warn", "fail"]
_BY_SEVERITY: tuple[Verdict, ...] = ("fail", "warn", "ok")
_MAX_LISTED = 5


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


def summarize(name: str, findings: Sequence[Finding], ok_text: str) -> Check:
    """Make one check of all findings, as bad as the worst of them; where there is none it is ok, `ok_text`."""
    if not findings:
        return Check(name, "ok", ok_text)
    verdict = next(verdict for verdict in _BY_SEVERITY if any(finding.verdict == verdict for finding in findings))
    ordered = sorted(findings, key=lambda finding: _BY_SEVERITY.index(finding.verdict))
    remedies = dict.fromkeys(finding.remedy for finding in ordered if finding.remedy)
    return Check(name, verdict, "; ".join(finding.found for finding in ordered), "; ".join(remedies))


def listed(items: Sequence[object]) -> str:
    """Name items in words, the first of many."""
    shown = ", ".join(map(str, items[:_MAX_LISTED]))
    return f"{shown} and {len(items) - _MAX_LISTED} more" if len(items) > _MAX_LISTED else shown


def command(*words: object) -> str:
    """Return a command as a shell takes it, whatever its words hold."""
    return f"`{shlex.join(map(str, words))}`"
