"""Schema: its version, what stands in it besides raven's own, and whether every page of the file is sound."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import raven
from raven.doctor.readonly_store import Specimen
from raven.doctor.report import Check, Finding, command, conclude
from raven.store import sql as statements
from raven.store.connection import new_schema

_AT_MOST_S = 2.0
_MIB = 1024 * 1024
_OF_VIEWS = frozenset({"view", "trigger"})


def check_schema(store: Specimen) -> Check:
    """Compare the schema with that of a new bus."""
    version, known = store.version(), len(statements.migrations())
    if version < known:
        return Check(
            "schema",
            "warn",
            f"version {version} of {known}: the next raven that uses the bus brings it up to date",
            "end the older ravens that use it, and run `raven stats`",
        )
    return conclude("schema", list(_differences(store)), f"version {version} of {known}")


def check_integrity(store: Specimen) -> Check:
    """Look through every page and index, as far as that goes in a short time."""
    answer = store.find_damage(_AT_MOST_S)
    if answer == "ok":
        return Check("integrity", "ok", "every page and index is sound")
    if answer is None:
        size = os.stat(store.path).st_size / _MIB
        how = command("sqlite3", store.path, "PRAGMA integrity_check")
        return Check("integrity", "ok", f"{_AT_MOST_S:g} s were too short for {size:,.0f} MiB: {how} looks at all")
    return Check(
        "integrity", "fail", answer[:300], "stop all users, keep a copy, restore a backup or try `sqlite3 .recover`"
    )


def _differences(store: Specimen) -> Iterator[Finding]:
    ours = {(kind, name.lower()): (name, table, sql) for kind, name, table, sql in new_schema() if sql}
    tables = {name for kind, name in ours if kind in ("table", "view")}
    found = {(kind, name.lower()): (name, table, sql) for kind, name, table, sql in store.schema() if sql}
    for (kind, key), (name, _, sql) in ours.items():
        theirs = found.get((kind, key))
        if theirs is None:
            yield Finding("fail", f"the {kind} {name} is missing", _remake(store.path, kind, sql))
        elif _bare(theirs[2]) != _bare(sql):
            yield Finding("warn", f"the {kind} {name} is not as raven makes it", _remake(store.path, kind, sql))
    for (kind, key), (name, table, _) in found.items():
        if (kind, key) not in ours and kind in ("index", "trigger") and table.lower() in tables:
            quoted = name.replace('"', '""')
            yield Finding(
                "warn",
                f"a foreign {kind} {name} is on raven's {table}: it runs with each statement there",
                f'DROP {kind.upper()} "{quoted}", unless you need it',
            )


def _remake(path: str, kind: str, sql: str) -> str:
    if kind in _OF_VIEWS:
        script = os.path.join(os.path.dirname(raven.__file__), "store", "sql", "views.sql")
        return f"make the views anew while nobody uses the bus: {command('sqlite3', path, f'.read {script}')}"
    if kind == "index":
        return f"make it anew while nobody uses the bus: {' '.join(sql.split())}"
    return "stop all users of the file, keep a copy of it, and restore a backup"


def _bare(sql: str) -> str:
    """Return SQL without comments, and with single blanks: what of it has a meaning."""
    return " ".join(re.sub(r"--[^\n]*", "", sql).split())
