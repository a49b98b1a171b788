"""Hosts: the rows of the linked hosts, the addresses that they show, and the addresses that this host shows."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from raven.delivery.mailbox import new_token
from raven.errors import AddressError, InputError, abbreviate
from raven.exchange.values import Home, HostState, Terms
from raven.model import clock
from raven.model.address import is_private, parse_address
from raven.store.database import Store
from raven.store.transaction import Transaction

if TYPE_CHECKING:
    from raven.wake.doorbell import Doorbells

_NAME = re.compile("[a-z0-9-]{1,40}")
_TAG_BYTES = 6
_FORGOTTEN = "link_forgotten"
# A shown address is written again only if its last use is so much later.
_SEEN_STEP_US = clock.to_micros(30)


def check_host(host: object) -> str:
    """Return a host's name; raises InputError unless it is 1 to 40 of the characters a-z, 0-9 and -."""
    if not isinstance(host, str) or not _NAME.fullmatch(host):
        raise InputError(f"host {abbreviate(host)} is not a name of a host: use 1 to 40 of a-z, 0-9 and -")
    return host


def state_of(tx: Transaction, host: str) -> HostState:
    """Return the row of a host, which is made if it is missing."""
    rows = tx.rows("link_host", {"host": host})
    if not rows:
        tx.change("insert_link_host", {"host": host, "lease": new_token(), "epoch": clock.now()})
        rows = tx.rows("link_host", {"host": host})
    return HostState(*rows[0])


def find_state(tx: Transaction, host: str) -> HostState | None:
    """Return the row of a host; None if this bus is not linked to it."""
    rows = tx.rows("link_host", {"host": host})
    return HostState(*rows[0]) if rows else None


def new_tags(count: int) -> list[int]:
    """Return random tags, numbers above 0 that JSON readers hold exactly."""
    raw = os.urandom(_TAG_BYTES * count)
    return [int.from_bytes(raw[at : at + _TAG_BYTES]) or 1 for at in range(0, len(raw), _TAG_BYTES)]


def forgotten(reader: Store | Transaction) -> set[str]:
    """Return the hosts that were forgotten and have not come back."""
    text = reader.value("meta_value", {"key": _FORGOTTEN})
    return set(json.loads(text)) if text else set()


def mark_forgotten(tx: Transaction, host: str, *, is_forgotten: bool = True) -> None:
    """Note that a host was forgotten, or has come back."""
    names = forgotten(tx)
    changed = names | {host} if is_forgotten else names - {host}
    if changed != names:
        tx.change("set_meta", {"key": _FORGOTTEN, "value": json.dumps(sorted(changed))})


def home(store: Store, doorbells: Doorbells, terms: Terms) -> dict[str, Home]:
    """Return the registered addresses of this host whose sessions are shared."""
    pending = dict(store.rows("count_open"))
    attended = set(doorbells.folders())
    return {
        address: Home(
            last_seen,
            doorbells.count_waiting(address, doors=False) if doorbells.folder_for(address) in attended else 0,
            pending.get(address, 0),
            last_seen > registered_at,
        )
        for address, _, registered_at, last_seen in store.rows("own_identities")
        if terms.shares(address)
    }


def show(store: Store, terms: Terms, host: str, addresses: Mapping[str, Home]) -> None:
    """Register the addresses that another host shows, and unregister the others of that host.

    An address of this host stays this host's. Addresses that are malformed, private or of a session that is not shared
    are passed over.
    """
    known = {address: (owner, seen) for address, owner, seen in store.rows("shown_identities")}
    gone = [a for a, (owner, _) in known.items() if owner == host and a not in addresses]
    new = [
        (address, one)
        for address, one in addresses.items()
        if _is_newer(known.get(address), host, one.seen) and _may_show(terms, address)
    ]
    if not gone and not new:
        return

    def step(tx: Transaction) -> None:
        tx.rows_many("hide_identity", [{"address": address, "host": host} for address in gone])
        tx.rows_many("show_identity", [_identity(host, address, one) for address, one in new])

    store.write(step)


def _is_newer(known: tuple[str | None, int] | None, host: str, seen: int) -> bool:
    """Whether the word of a host on an address says more than the row that is there."""
    if known is None:
        return True
    owner, last_seen = known
    return owner is not None and (seen > last_seen + _SEEN_STEP_US or (owner == host and seen < last_seen))


def _may_show(terms: Terms, address: str) -> bool:
    try:
        parse_address(address)
    except AddressError:
        return False
    return terms.shares(address) and not is_private(address)


def _identity(host: str, address: str, one: Home) -> dict[str, object]:
    role, _, session = address.partition(":")
    # An address that is only registered was last seen then.
    registered_at = one.seen - 1 if one.used else one.seen
    return {
        "address": address,
        "role": role,
        "session": session,
        "registered_at": registered_at,
        "last_seen": one.seen,
        "host": host,
    }
