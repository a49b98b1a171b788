"""Agreement: the bus file and the addresses that the two processes share."""

from __future__ import annotations

import argparse
import os
import tempfile

PRODUCER = "producer:two-processes"
CONSUMER = "consumer:two-processes"
DEFAULT_DB = os.path.join(tempfile.gettempdir(), f"raven-two-processes-{os.getuid()}.db")


def db_path_argument(description: str | None) -> str:
    """Read the path of the bus from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("db", nargs="?", default=DEFAULT_DB, help="the bus file (default: %(default)s)")
    path: str = parser.parse_args().db
    return path
