"""Options: how `raven mcp` was started."""

from __future__ import annotations

from typing import NamedTuple


class Options(NamedTuple):
    """The options of `raven mcp`, as the command line has them."""

    db: str | None = None  # None: the bus is found as every command finds it
    address: str | None = None  # --as
    pushes: bool = True  # --no-push
    channel: bool = False
    # Between two notes of progress about a call that waits. No option: a test shortens it.
    progress_s: float = 30.0
