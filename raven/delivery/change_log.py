"""Change log: the table and the triggers that number each change of a delivery, from their begin to their end.

Only viewers of the event streams need them, and every claim and ack pays for them. So a log has an end, which its
viewers put off; whichever process applies the due timers of the bus after it removes the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache, partial

from raven.errors import DatabaseError, RavenError
from raven.model import clock
from raven.store import sql
from raven.store.connection import new_schema
from raven.store.database import Store
from raven.store.transaction import Transaction

_TABLE = "delivery_changes"
_UNTIL = {"key": "change_log_until"}
# A log lasts so long after the last `begin`, which puts off the end only once in an hour.
_SPAN_US = clock.to_micros(24 * 3600)
_RENEW_US = clock.to_micros(3600)
# A later end than this one is of a clock that was set back since.
LATEST_US = 2 * _SPAN_US


def begin(store: Store) -> None:
    """Log every change from now on, for 23 hours at least; does nothing if that is so already.

    Raises DatabaseError if the bus cannot be written, or has a table of another program under the name of the log's.
    """
    store.verify()
    if _objects(store) != definitions() or not _is_renewed(store, clock.now()):
        store.write(partial(_begin, path=store.path))


def until(reader: Store | Transaction) -> datetime | None:
    """Return the end of the log, unless viewers come; None if no change is logged."""
    value = reader.value("meta_value", _UNTIL)
    return None if value is None else clock.from_micros(_number(value))


def end_if_due(store: Store, now: int) -> None:
    """Remove the log if its end has come: some 20 ms for a full one. A failure leaves it to the next call."""
    with suppress(RavenError):
        store.write(partial(_end_if_due, now=now))


@cache
def definitions() -> Mapping[str, str]:
    """Return the normalized definitions of the log's table and triggers by name."""
    others = {name for _, name, _, _ in new_schema()}
    return {name: sql.normalized(text) for _, name, _, text in new_schema(with_change_log=True) if name not in others}


def _begin(tx: Transaction, path: str) -> None:
    objects, now = _objects(tx), clock.now()
    if not _has_own_table(objects):
        raise DatabaseError(
            f"the bus {path} has a table {_TABLE} that is not raven's, so that changes cannot be logged: "
            "rename that table"
        )
    if objects != definitions():  # another process may have made them meanwhile
        tx.run_script(sql.change_log())
    if not _is_renewed(tx, now):
        tx.change("set_meta", {**_UNTIL, "value": str(now + _SPAN_US)})


def _end_if_due(tx: Transaction, now: int) -> None:
    [(_, _, is_due)] = tx.rows("has_due_timer", {"now": now, "latest": now + LATEST_US})
    if not is_due:  # a viewer has come, or another process was faster
        return
    tx.change("drop_change_trigger", {})
    if _has_own_table(_objects(tx)):
        tx.change("drop_change_log", {})
    tx.change("delete_change_log_keys", {})


def _is_renewed(reader: Store | Transaction, now: int) -> bool:
    end = _number(reader.value("meta_value", _UNTIL) or "")
    return now + _SPAN_US - _RENEW_US < end <= now + _SPAN_US


def _number(value: str) -> int:
    """Return a time that another program may have changed; 0 if it is none."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0


def _has_own_table(objects: Mapping[str, str]) -> bool:
    """Whether raven's table is there, or no table of its name."""
    table = definitions()[_TABLE]
    return objects.get(_TABLE, table) == table


def _objects(reader: Store | Transaction) -> dict[str, str]:
    return {name: sql.normalized(text or "") for name, text in reader.rows("change_log_objects", {})}
