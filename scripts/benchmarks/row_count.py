"""Row count of a table in a bus file, without raven."""

from __future__ import annotations

import apsw


def count_rows(db: str, table: str) -> int:
    """Return the number of rows of a table, or of a part of it: `deliveries WHERE state = 2`."""
    connection = apsw.Connection(db)
    try:
        connection.set_busy_timeout(5000)
        ((count,),) = connection.execute(f"SELECT count(*) FROM {table}")
        return int(count)
    finally:
        connection.close()
