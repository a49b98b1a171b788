"""Rates: shares the rates of a host out to the clients of the bridge, and refuses a client that is over them."""

from __future__ import annotations

import time
from collections import OrderedDict

from starlette.types import Scope

from raven.errors import LimitError
from raven.host.admission import Rates, Share

_MAX_CLIENTS = 1000
# A client that connects for each request would have no history: connections younger than this have one share together.
_NEW_S = 1.0


class ClientRates:
    """The share of each connection: one that asks for little is served while others are over the rates."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._newcomers = Share(rates)
        # By the client's address: its share, or since when it is connected.
        self._clients: OrderedDict[object, Share | float] = OrderedDict()

    def admit(self, scope: Scope) -> Share:
        """Count a request, and return the share of its connection; raises a LimitError, which is retryable."""
        share = self._share_of(scope.get("client"))
        if share.wait_s():
            error = LimitError("this server gets more requests than its rates allow; nothing was done: try again later")
            error.retryable = True
            raise error
        share.spend_request(1)
        return share

    def _share_of(self, client: object) -> Share:
        now, known = time.monotonic(), self._clients.get(client)
        if known is None:
            self._clients[client] = now
            if len(self._clients) > _MAX_CLIENTS:
                self._clients.popitem(last=False)
            return self._newcomers
        if isinstance(known, float):
            if now - known < _NEW_S:
                return self._newcomers
            known = self._clients[client] = Share(self._rates)
        self._clients.move_to_end(client)
        return known
