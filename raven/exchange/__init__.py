"""The exchange: which message another host has, what became of it there, and what this bus owes it; no network.

Imported by `doctor`, `link` and the rooms above them; imports `observer` and below.
"""

from raven.exchange.exchange import Exchange
from raven.exchange.overview import overview
from raven.exchange.values import (
    Batch,
    Confirmation,
    Frame,
    Home,
    HostOverview,
    HostState,
    Incoming,
    Outgoing,
    Returnable,
    TakenIn,
)

__all__ = [
    "Batch",
    "Confirmation",
    "Exchange",
    "Frame",
    "Home",
    "HostOverview",
    "HostState",
    "Incoming",
    "Outgoing",
    "Returnable",
    "TakenIn",
    "overview",
]
