"""Locate: the command `raven` as a host has to call it."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig

from raven.errors import abbreviate
from raven_mcp.install.entries import Program
from raven_mcp.install.files import RefusedError


def locate(scope: str, db: str | None = None) -> Program:
    """Return the command for a scope: by its full path for this user, by its bare name in files that others share.

    Raises RefusedError if this raven has no command, or `db` is no path.
    """
    if db is not None and not db.isprintable():
        raise RefusedError(f"the bus file {abbreviate(db)} has an unprintable character in its path: choose another")
    if scope == "project":
        return Program("raven", ("--db", db) if db else ())
    options = ("--db", os.path.abspath(os.path.expanduser(db))) if db else ()
    beside = os.path.join(sysconfig.get_path("scripts"), "raven")
    for path in (sys.argv[0], beside, shutil.which("raven")):
        if path and os.path.basename(path) == "raven" and os.path.isabs(path) and os.access(path, os.X_OK):
            return Program(os.path.normpath(path), options)
    raise RefusedError(f"the command raven is neither at {beside} nor on PATH: install it with `pip install raven-bus`")
