"""Confirmations: which frames other hosts have committed, as they said it; written with the next transaction."""

from __future__ import annotations

from time import monotonic

from raven.exchange import handover
from raven.exchange.hosts import find_state
from raven.exchange.values import Confirmation, HostState, Terms
from raven.model.limits import is_integer
from raven.store.transaction import Transaction

# A host that names an older frame for so long has an older file; until then its word was only late.
_BELOW_S = 12.0
# A receiver takes no epoch over the first of these. A word over the second is no host's, unless it names this bus's own
# epoch: if this bus followed it, no receiver would take its frames in the end.
_LARGEST_EPOCH = 1 << 60
_LARGEST_FOREIGN = 1 << 59


class Confirmations:
    """The confirmations that no transaction has written yet, by host.

    A host that has frames which this bus never sent, or lacks frames that it had confirmed, has met an older copy of
    one of the two files. Then the numbers of its frames begin anew.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        # The furthest and the latest word of each host.
        self._furthest: dict[str, Confirmation] = {}
        self._latest: dict[str, Confirmation] = {}
        self._written: dict[str, Confirmation] = {}
        self._below_since: dict[str, float] = {}

    def note(self, host: str, said: Confirmation) -> None:
        """Note a host's word for the next transaction; a malformed one is dropped."""
        if not all(is_integer(part, 0, 1 << 62) for part in said) or said.epoch > _LARGEST_EPOCH:
            return
        if self._written.get(host) == said and host not in self._below_since:
            return
        self._furthest[host] = max(self._furthest.get(host, said), said)
        self._latest[host] = said

    def are_noted(self) -> bool:
        """Whether a transaction has something to write."""
        return bool(self._latest)

    def write(self, tx: Transaction) -> set[str]:
        """Write the noted words; returns the hosts whose numbers begin anew."""
        if not self._latest:
            return set()
        latest = dict(self._latest)
        begun = {host for host in latest if self._write_one(tx, host)}
        tx.after_commit(lambda _: self._forget(latest))
        return begun

    def _forget(self, written: dict[str, Confirmation]) -> None:
        for host, said in written.items():
            self._written[host] = said
            if self._latest.get(host) == said:
                del self._latest[host], self._furthest[host]

    def _write_one(self, tx: Transaction, host: str) -> bool:
        state = find_state(tx, host)
        if state is None:
            return False
        for said in dict.fromkeys((self._furthest[host], self._latest[host])):
            is_their_loss = said == self._latest[host] and self._is_older_for_long(state, said)
            if is_their_loss or self._is_contradiction(tx, state, said):
                handover.begin_anew(tx, self._terms, state, said.epoch, is_their_loss=is_their_loss)
                self._below_since.pop(host, None)
                return True
            if said.epoch == state.epoch and said.number > state.confirmed:
                tx.change("delete_frames", {"host": host, "number": said.number})
                tx.change("set_confirmed", {"host": host, "number": said.number, "tag": said.tag})
                state = state._replace(confirmed=said.number, confirmed_tag=said.tag)
        return False

    def _is_older_for_long(self, state: HostState, said: Confirmation) -> bool:
        """Whether a host has named an earlier frame than a confirmed one for so long that its file must be older."""
        if (said.epoch, said.number) >= (state.epoch, state.confirmed):
            self._below_since.pop(state.host, None)
            return False
        if not state.confirmed:
            return False  # it may not have got the first frame of this epoch yet
        now = monotonic()
        return now - self._below_since.setdefault(state.host, now) >= _BELOW_S

    def _is_contradiction(self, tx: Transaction, state: HostState, said: Confirmation) -> bool:
        """Whether a host names a frame that this bus has not sent to it: this bus's file is the older one."""
        if said.epoch != state.epoch:
            return state.epoch < said.epoch <= _LARGEST_FOREIGN
        if said.number > state.sent:
            return True
        if said.number < state.confirmed:
            return False
        if said.number == state.confirmed:
            tag: int | None = state.confirmed_tag
        elif said.number == state.sent:
            tag = state.sent_tag
        else:
            tag = tx.value("frame_tag", {"host": state.host, "number": said.number})
        return tag != said.tag
