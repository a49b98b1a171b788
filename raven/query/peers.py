"""Peers: the addresses on the bus, with their subscribers, their pending mail, and the agents that have them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from raven.agents.agent import NO_AGENT, presence
from raven.model import clock
from raven.model.address import is_private
from raven.model.status import Peer

if TYPE_CHECKING:
    from raven.store.database import Store
    from raven.wake.doorbell import Doorbells

# The rows of an address that is not registered, and of one without mail.
_NEVER_SEEN = ("", None, None, None)
_NO_MAIL = ("", 0, None, 0)


def list_peers(store: Store, doorbells: Doorbells, session: str | None = None, scope: str | None = None) -> list[Peer]:
    """List the addresses that are registered or have mail, of one session if `session` is given.

    Private reply addresses are left out: only the recipients of a request know its address. With `scope`, the JSON
    array of some addresses, only their mail is counted: other addresses have 0 pending, and must be registered. Of the
    agents at other addresses, `cwd` and `about` are left out.
    """
    backlog = "backlog" if scope is None else "scoped_backlog"
    seen = {row[0]: row for row in store.rows("list_identities", {"session": session})}
    pending = {row[0]: row for row in store.rows(backlog, {"now": clock.now(), "scope": scope})}
    agents = presence(store)
    if scope is not None:
        shown = frozenset(json.loads(scope))
        agents = {a: one if a in shown else one._replace(cwd=None, about=None) for a, one in agents.items()}
    unregistered = [address for address in pending if address not in seen]
    attended = set(doorbells.folders())
    # The folder of most addresses has their name.
    names = {os.path.basename(folder) for folder in attended}
    has_other_names = any("%" in name or ":" not in name for name in names)
    peers = []
    for text in [*seen, *unregistered]:
        # Not parsed: one invalid address from an external writer must not hide the others.
        role, _, own_session = text.partition(":")
        if session in (None, own_session) and not is_private(text):
            _, registered_at, last_seen, host = seen.get(text, _NEVER_SEEN)
            _, unfinished, _, held = pending.get(text, _NO_MAIL)
            # Most of many addresses have no doorbell: one listing of all folders is faster.
            is_attended = text in names or (has_other_names and doorbells.folder_for(text) in attended)
            # By position, which takes half as long as by name.
            peers.append(
                Peer(
                    text,
                    role,
                    own_session,
                    None if registered_at is None else clock.from_micros(registered_at),
                    None if last_seen is None else clock.from_micros(last_seen),
                    doorbells.count_waiting(text, doors=False) if is_attended else 0,
                    unfinished,
                    host,
                    held,
                    *(agents.get(text, NO_AGENT) if host is None else NO_AGENT),
                )
            )
    return peers
