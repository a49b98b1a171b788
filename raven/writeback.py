"""Write-back: what was committed goes from the WAL into the file before the WAL grows long.

SQLite by itself does it beside the other writers. While several of them are at work that never comes to the end of the
WAL, which then grows without bound, and each further commit waits for the disk in vain. So what they have added in the
meantime, which is little, is written back while they wait.
See https://sqlite.org/wal.html#avoiding_excessively_large_wal_files.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from raven.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

# To write back waits for the disk twice, however much it is: with SQLite's own 1,000 pages, four times as often.
PAGES = 4000
# A WAL with so many pages is kept, to be written anew from its start: a longer one is cut.
WAL_SIZE_LIMIT = 16 * 1024 * 1024
_PATIENCE_S = 0.05


class WriteBack:
    """What SQLite calls after each commit of a connection, see https://sqlite.org/c3ref/wal_hook.html."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._begin_at = PAGES

    def __call__(self, connection: apsw.Connection, database: str, pages: int) -> int:
        """Write back if the WAL has become long; returns SQLite's word for all is well, since the commit is."""
        if pages < PAGES:
            self._begin_at = PAGES
        elif pages >= self._begin_at:
            # Where a reader holds the rest back there is no sense in trying at each commit.
            self._begin_at = pages + PAGES
            # Whatever is in the way of this, a full disk for instance: it does not undo the commit.
            with suppress(Exception):
                self._write_back(connection)
        return 0

    def _write_back(self, connection: apsw.Connection) -> None:
        is_busy = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()[0][0]
        if not is_busy:  # by another that writes back
            with self._briefly():
                connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    @contextmanager
    def _briefly(self) -> Iterator[None]:
        before, self._patience.limit_s = self._patience.limit_s, min(self._patience.limit_s, _PATIENCE_S)
        try:
            yield
        finally:
            self._patience.limit_s = before
