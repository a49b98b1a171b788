"""Link: whether the relay of the bus runs and reaches its server, and what the other hosts have.

The relay tells how it fares in the file `link.json` beside the doorbells. Any version may have written it, so each
value is checked here; an absent one has no finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raven.doctor.linux import locks, proc
from raven.doctor.readonly_store import ReadOnlyStore
from raven.doctor.report import Check, Finding, listed, summarize
from raven.exchange.overview import overview
from raven.model import clock

if TYPE_CHECKING:
    from raven.exchange.values import HostOverview

# Without these the relay hears of no change, or looks through all unfinished mail.
_PARTS = frozenset({"link_changed", "link_deleted", "link_foreign"})
_LARGE_CARD_BYTES = 512 << 10
_OFFSET_US = clock.to_micros(1)
# A stream that is so full refuses mail soon.
_FULL_SHARE = 0.9
_KIB, _MIB = 1 << 10, 1 << 20
_Status = Mapping[str, Any]


def check_link(store: ReadOnlyStore) -> Check | None:
    """Check the relay and the links to other hosts; returns None if the bus was never linked."""
    from raven.link import status as relay

    status = relay.read(store.path)
    pids = locks.holders(store.path, relay.LOCK)
    is_running = bool(pids) or locks.is_held(store.path, relay.LOCK)
    unknown = store.rows("held_by_unknown", {"max": 1})
    if not (store.rows("link_hosts") or status or is_running or unknown):
        return None
    hosts = overview(store)
    findings = [*_unknown_holds(store, unknown), *(_missing_parts(store) if hosts else ())]
    if is_running:
        findings += [*_stopped(pids), *_server(status), *_silent(hosts, status), *_figures(status)]
    else:
        findings.append(_not_running(hosts, status))
    return summarize("link", findings, _summary(hosts, status, pids))


def _not_running(hosts: Sequence[HostOverview], status: _Status) -> Finding:
    ended_at, failure = _number(status, "ended_at"), _text(status, "failure")
    since = f" since {_span(clock.now() - ended_at)}" if ended_at else ""
    held = [f"{one.held} of {one.host}" for one in hosts if one.held]
    waits = f"; deliveries that wait for the news of their hosts: {listed(held)}" if held else ""
    reason = f" ({failure})" if failure else ""
    problem = f"no relay of this bus runs{since}{reason}: no mail goes to other hosts or comes from them{waits}"
    return Finding("warn", problem, "start `raven link`, or `raven link forget HOST` for each host if it is unlinked")


def _stopped(pids: set[int]) -> Iterator[Finding]:
    for pid in sorted(pids):
        if proc.is_stopped(pid):
            remedy = f"`kill -CONT {pid}`, or end it with `kill -KILL {pid}`"
            yield Finding("warn", f"{proc.describe(pid)} is the relay, and is stopped", remedy)


def _server(status: _Status) -> Iterator[Finding]:
    failure, server = _text(status, "failure"), _part(status, "server")
    if failure or (status and not server):
        remedy = "start that server, or give `raven link` the right URL and credentials"
        yield Finding("warn", f"the relay has no server: {failure or 'it does not answer'}", remedy)
    stored, limit = _number(server, "bytes"), _number(server, "max_bytes")
    if limit > 0 and stored >= _FULL_SHARE * limit:
        problem = f"the stream has {stored / _MIB:,.0f} of {limit / _MIB:,.0f} MiB: when it is full, mail stays here"
        remedy = "start the relays of the hosts that are silent, or give the stream more room (`nats stream edit`)"
        yield Finding("warn", problem, remedy)
    for trouble in _part(status, "trouble").values():
        yield Finding("warn", f"the relay has trouble: {trouble}", "see its log, and `raven link status`")


def _silent(hosts: Sequence[HostOverview], status: _Status) -> Iterator[Finding]:
    told = _part(status, "hosts")
    for one in hosts:
        link = _part(told, one.host)
        if not one.held or link.get("is_alive") is True:
            continue
        heard_s = _number(link, "heard_s")
        silent = (
            f"was heard {_span(clock.to_micros(heard_s))} ago" if heard_s else "was not heard since the relay began"
        )
        oldest = "" if one.oldest_held_at is None else f", the oldest {_span(clock.now() - one.oldest_held_at)} old"
        yield Finding(
            "warn",
            f"{one.host} has {one.held} unfinished deliveries{oldest}, and {silent}",
            f"start the relay of {one.host}; if that host is gone for good, `raven link forget {one.host}`",
        )


def _figures(status: _Status) -> Iterator[Finding]:
    card_bytes, offset_us = _number(status, "card_bytes"), _number(status, "offset_us")
    if card_bytes > _LARGE_CARD_BYTES:
        yield Finding(
            "warn",
            f"the card of this host has {card_bytes / _KIB:,.0f} KiB, and each change of an address sends it again",
            "share fewer sessions (`sessions:` under `link:` in raven.yaml), or `raven forget` old addresses",
        )
    if abs(offset_us) > _OFFSET_US:
        way = "ahead of" if offset_us > 0 else "behind"
        problem = f"the clock of the server is {_span(abs(offset_us))} {way} this host's"
        yield Finding("warn", problem, "let NTP set both clocks; raven allows for it in expiries and receipts")
    for name in ("dropped_cards", "dropped"):
        dropped = [f"{reason} ({count})" for reason, count in _part(status, name).items()]
        if dropped:
            what = "cards" if name == "dropped_cards" else "envelopes"
            problem = f"the relay has dropped {what} of other hosts: {listed(dropped)}"
            yield Finding(
                "warn", problem, "see that each host has a name of its own and a raven that knows this version"
            )


def _unknown_holds(store: ReadOnlyStore, first: Sequence[Any]) -> Iterator[Finding]:
    for message_id, recipient in first:
        count = int(store.value("count_held_by_unknown"))
        yield Finding(
            "warn",
            f"{count} deliveries wait for a host that this bus does not know, as that of message {message_id} to "
            f"{recipient}",
            f"make each ready again: `raven nack {message_id} -a {recipient}`",
        )


def _missing_parts(store: ReadOnlyStore) -> Iterator[Finding]:
    missing = _PARTS.difference(name for _, name, _, _ in store.schema())
    if missing:
        problem = f"the link has lost parts of its schema: {listed(sorted(missing))}; hosts miss changes"
        yield Finding("fail", problem, "start `raven link` anew: it makes them")


def _summary(hosts: Sequence[HostOverview], status: _Status, pids: set[int]) -> str:
    who = listed([proc.describe(pid) for pid in sorted(pids)]) or "a process that is not visible from here"
    url = _text(_part(status, "server"), "url")
    names = listed([one.host for one in hosts]) or "no other host yet"
    held = sum(one.held for one in hosts)
    return f"{who} links this bus to {names}{f' over {url}' if url else ''}; other hosts have {held} deliveries"


def _part(status: _Status, name: str) -> _Status:
    value = status.get(name)
    return value if isinstance(value, dict) else {}


def _number(status: _Status, name: str) -> float:
    value = status.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _text(status: _Status, name: str) -> str:
    value = status.get(name)
    return value if isinstance(value, str) else ""


def _span(micros: float) -> str:
    seconds = max(0.0, micros / 1e6)
    for unit_s, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:,.0f} {unit}"
    return f"{seconds:,.1f} s" if seconds < 10 else f"{seconds:,.0f} s"
