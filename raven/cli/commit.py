"""Commit: several calls in one transaction, on the file or through the helper."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from raven.errors import DatabaseError, RavenError

if TYPE_CHECKING:
    from raven.client import BusClient


class Call(NamedTuple):
    """A method of BusClient, with its arguments."""

    method: str
    args: tuple[Any, ...]
    options: dict[str, Any]


def commit(bus: BusClient, calls: Sequence[Call], named: Callable[[int], str] = lambda number: "") -> list[Any]:
    """Do all calls in one transaction, or none of them, and return what each returned.

    An error about a call begins with what `named` makes of its number.
    """
    try:
        with bus.transaction() as tx:
            values = [_do(tx, number, call, named) for number, call in enumerate(calls)]
    except RavenError as error:
        # So the helper says which one it was.
        told = re.fullmatch(r"call (\d+) \(\w+\) of the transaction: (.*)", str(error), re.DOTALL)
        if told is not None:
            error.args = (f"{named(int(told[1]))}{told[2]}", *error.args[1:])
        raise
    # The helper does all at the end of the block, and what came of it is known only then.
    return list(getattr(tx, "results", values))


def _do(tx: BusClient, number: int, call: Call, named: Callable[[int], str]) -> Any:
    try:
        return getattr(tx, call.method)(*call.args, **call.options)
    except DatabaseError:
        raise  # of the bus file, and none of the call's
    except RavenError as error:
        error.args = (f"{named(number)}{error}", *error.args[1:])
        raise
