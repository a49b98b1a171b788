"""Rows: the result of a statement, as far as a page holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raven.errors import BusyError, InputError, LimitError, abbreviate
from raven.model.limits import MAX_PAGE_BYTES
from raven.model.message import cut_row, json_size

if TYPE_CHECKING:
    import apsw

Params = Mapping[str, Any]


class ShortPage(int):
    """A `max_bytes` for an event loop: longer messages, also a single one, raise LongPageError."""


class LongPageError(BusyError):
    """The messages are too long to be read on an event loop; nothing was done: read them in a thread."""


def fetch(
    connection: apsw.Connection,
    sql: str,
    params: Params | None = None,
    max_bytes: int | None = None,
    *,
    whole: bool = False,
) -> list[Any]:
    """Run a statement and return its rows; invalid UTF-8 from external writers is shown as U+FFFD.

    `max_bytes`: stop before the row that brings the JSON form of these messages over so many bytes, or with `whole`
    raise LimitError. The first row is always returned, cut if it is longer than any page, except from a ShortPage.
    Raises InputError for a parameter that UTF-8 cannot encode.
    """
    try:
        return fetch_some(connection.execute(sql, params), max_bytes, whole)
    except UnicodeEncodeError as error:
        raise InputError(
            f"{abbreviate(error.object)} has the lone surrogate {abbreviate(error.object[error.start])}, "
            "which UTF-8 cannot encode"
        ) from None
    except UnicodeDecodeError:
        names = [column[0] for column in connection.execute(sql, params).get_description()]
        columns = ", ".join(
            f"""CASE typeof("{n}") WHEN 'text' THEN CAST("{n}" AS BLOB) ELSE "{n}" END""" for n in names
        )
        rows = fetch_some(connection.execute(f"SELECT {columns} FROM ({sql})", params), max_bytes, whole)  # noqa: S608 our own names
        return [tuple(v.decode(errors="replace") if isinstance(v, bytes) else v for v in row) for row in rows]


def fetch_some(cursor: apsw.Cursor, max_bytes: int | None, whole: bool = False) -> list[Any]:
    """Return the rows of a running statement, as `fetch` does."""
    if max_bytes is None:
        return cursor.fetchall()
    rows: list[Any] = []
    size = 0
    for row in cursor:
        row_size = json_size(row)
        if row_size > MAX_PAGE_BYTES:
            row = cut_row(row)  # noqa: PLW2901 the whole row is not needed again
            row_size = json_size(row)
        size += row_size
        if size > max_bytes and (rows or isinstance(max_bytes, ShortPage)):
            if not isinstance(max_bytes, ShortPage) and not whole:
                break
            cursor.execute("")  # ends the statement: the error may keep this frame, and it the cursor, for long
            if isinstance(max_bytes, ShortPage):
                raise LongPageError(f"these messages are over {max_bytes:,} bytes: read them in a thread")
            raise LimitError(f"these messages are over {max_bytes:,} bytes: ask for fewer with max")
        rows.append(row)
    return rows
