"""Schema: the triggers that a bus needs from its first link on, and the id that the bus has on other hosts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

from raven.store import sql
from raven.store.connection import new_schema
from raven.store.database import Store
from raven.store.transaction import Transaction

_BUS = {"key": "link_bus"}


def begin(store: Store) -> str:
    """Make the triggers and the id of the bus, or mend the triggers; does nothing if all is there. Returns the id."""
    store.verify()
    bus_id = store.value("meta_value", _BUS)
    if bus_id is None or _objects(store) != definitions():
        bus_id = store.write(partial(_begin))
    return str(bus_id)


@cache
def definitions() -> Mapping[str, str]:
    """Return the normalized definitions of the triggers by name."""
    others = {name for _, name, _, _ in new_schema()}
    return {name: sql.normalized(text) for _, name, _, text in new_schema(with_link=True) if name not in others}


def _begin(tx: Transaction) -> str:
    if _objects(tx) != definitions():
        tx.run_script(sql.link_triggers())
    bus_id = tx.value("meta_value", _BUS)
    if bus_id is None:
        from uuid import uuid4

        bus_id = str(uuid4())
        tx.change("set_meta", {**_BUS, "value": bus_id})
    return str(bus_id)


def _objects(reader: Store | Transaction) -> dict[str, str]:
    return {name: sql.normalized(text or "") for name, text in reader.rows("link_objects", {})}
