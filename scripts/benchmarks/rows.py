"""Rows: how many of them a bus file has, counted without raven."""

from __future__ import annotations

import apsw


def count_rows(db: str, table: str) -> int:
    """Return how many rows a table has, or part of one: `deliveries WHERE state = 2`."""
    connection = apsw.Connection(db)
    try:
        connection.set_busy_timeout(5000)
        ((count,),) = connection.execute(f"SELECT count(*) FROM {table}")
        return int(count)
    finally:
        connection.close()
