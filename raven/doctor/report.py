"""Check: the subject of a check, its verdict, and a remedy."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

Verdict = Literal["ok", "warn", "fail"]
_BY_SEVERITY: tuple[Verdict, ...] = ("fail", "warn", "ok")
_MAX_LISTED = 5


class Check(NamedTuple):
    """The result of one check: its subject, a verdict, the findings in words, and a remedy if it is not ok."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return self._asdict()


class Finding(NamedTuple):
    """One problem and its remedy."""

    verdict: Verdict
    found: str
    remedy: str


def summarize(name: str, findings: Sequence[Finding], ok_text: str) -> Check:
    """Combine findings into one check, as bad as the worst of them; without findings it is ok, with `ok_text`."""
    if not findings:
        return Check(name, "ok", ok_text)
    verdict = next(verdict for verdict in _BY_SEVERITY if any(finding.verdict == verdict for finding in findings))
    ordered = sorted(findings, key=lambda finding: _BY_SEVERITY.index(finding.verdict))
    remedies = dict.fromkeys(finding.remedy for finding in ordered if finding.remedy)
    return Check(name, verdict, "; ".join(finding.found for finding in ordered), "; ".join(remedies))


def listed(items: Sequence[object]) -> str:
    """List the first few items in words, and count the rest."""
    shown = ", ".join(map(str, items[:_MAX_LISTED]))
    return f"{shown} and {len(items) - _MAX_LISTED} more" if len(items) > _MAX_LISTED else shown


def command(*words: object) -> str:
    """Return a command quoted for the shell."""
    return f"`{shlex.join(map(str, words))}`"
