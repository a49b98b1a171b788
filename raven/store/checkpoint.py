"""Write-back: what was committed goes from the WAL into the file before the WAL grows long.

SQLite by itself does it beside the other writers. While several of them are at work that never comes to the end of the
WAL, which then grows without bound, and each further commit waits for the disk in vain. So what they have added in the
meantime, which is little, is written back while they wait.
See https://sqlite.org/wal.html#avoiding_excessively_large_wal_files.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from raven.store.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

# To write back waits for the disk twice, however much it is: with SQLite's own 1,000 pages, four times as often.
PAGES = 4000
# A WAL with so many pages is kept, to be written anew from its start: a longer one is cut.
WAL_SIZE_LIMIT = 16 * 1024 * 1024
_PATIENCE_S = 0.05
# Nobody else can write meanwhile: much less than the others' busy timeout, or their sends would fail by it.
_LONGEST_PATIENCE_S = 1.0
# After a long wait that was in vain comes a rest of so many times its length.
_REST = 10


class WriteBack:
    """What SQLite calls after each commit of a connection, see https://sqlite.org/c3ref/wal_hook.html."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._begin_at = PAGES
        self._written = 0  # pages that had been written back at the last try
        self._rests_until = 0.0

    def __call__(self, connection: apsw.Connection, database: str, pages: int) -> int:
        """Write back if the WAL has become long; returns SQLite's word for all is well, since the commit is."""
        if pages < PAGES:
            self._begin_at, self._written = PAGES, 0
        elif pages >= self._begin_at:
            # Where a reader holds the rest back there is no sense in trying at each commit.
            self._begin_at = pages + PAGES
            # Whatever is in the way of this, a full disk for instance: it does not undo the commit.
            with suppress(Exception):
                self._write_back(connection, pages)
        return 0

    def _write_back(self, connection: apsw.Connection, pages: int) -> None:
        row: Any = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()[0]
        is_busy, _, written = row
        if is_busy:  # by another that writes back
            return
        # Readers that come and go, one at least at any moment, are waited for much longer the more there is; for one
        # that holds all back, where nothing was written back since the last time, there is no sense in it.
        begin, patience_s = time.monotonic(), _PATIENCE_S
        if written > self._written and begin > self._rests_until:
            patience_s = min(_PATIENCE_S * (pages / PAGES) ** 2, _LONGEST_PATIENCE_S)
        self._written = written
        with self._for_no_longer_than(patience_s):
            was_in_vain = connection.execute("PRAGMA wal_checkpoint(RESTART)").get[0]
        if was_in_vain and patience_s > _PATIENCE_S:
            end = time.monotonic()
            self._rests_until = end + _REST * (end - begin)

    @contextmanager
    def _for_no_longer_than(self, patience_s: float) -> Iterator[None]:
        before, self._patience.limit_s = self._patience.limit_s, min(self._patience.limit_s, patience_s)
        try:
            yield
        finally:
            self._patience.limit_s = before
