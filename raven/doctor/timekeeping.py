"""Timekeeping: does the clock of this host agree with the times in the bus."""

from __future__ import annotations

from raven.doctor.readonly_store import Specimen
from raven.doctor.report import Check, Finding, conclude
from raven.model import clock

# What is written meanwhile, and what a time server corrects step by step.
_TOLERATED_S = 3.0
# What a claim can ask for.
_LONGEST_LEASE_S = 86400
_START_OF_2020 = 1_577_836_800_000_000
_SET_IT = "set the clock (`timedatectl`); leases, delays and expiry follow it, and nothing is lost by it"


def check_clock(store: Specimen) -> Check | None:
    """Compare the newest times in the bus with now; None where there are none, and the clock is set."""
    findings = []
    if clock.now() < _START_OF_2020:
        day = clock.isoformat(clock.from_micros(clock.now()))
        findings.append(Finding("warn", f"the clock says {day}: it was never set", _SET_IT))
    *happened, leased_until = store.rows("latest_times")[0]
    now = clock.now()
    ahead_s = (max((moment or 0 for moment in happened), default=0) - now) / 1e6
    if ahead_s > _TOLERATED_S:
        found = f"the newest entry is {ahead_s:,.0f} s in the future: the clock went back by as much"
        findings.append(Finding("warn", found, _SET_IT))
    lease_s = ((leased_until or 0) - now) / 1e6
    if lease_s > _LONGEST_LEASE_S + _TOLERATED_S:
        found = f"a lease ends in {lease_s:,.0f} s, and none is longer than {_LONGEST_LEASE_S:,}: the clock went back"
        findings.append(Finding("warn", found, f"`raven nack` gives back what it holds; {_SET_IT}"))
    if not findings and not any(happened):
        return None
    return conclude("clock", findings, "no entry of the bus is of the future")
