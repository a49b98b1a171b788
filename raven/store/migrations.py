"""Migrations: is a file a bus, of which version, and how it is brought up to this raven's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raven.errors import NewerSchemaError, NotABusError
from raven.store.sql import migrations, migrations_after

if TYPE_CHECKING:
    import apsw

APPLICATION_ID = int.from_bytes(b"RAVN", "big")
_INCREMENTAL = 2


def check_format(connection: apsw.Connection, path: str) -> None:
    """Refuse a database that is not a bus, or is one of a newer raven; prepare an empty file to become one."""
    # One transaction, or another process could make the schema between the questions.
    connection.execute("BEGIN")
    application = connection.execute("PRAGMA application_id").get
    version = connection.execute("PRAGMA user_version").get
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    connection.execute("ROLLBACK")
    if application == APPLICATION_ID:
        _refuse_newer(version, path)
    elif application or version or tables:
        raise NotABusError(f"{path} is an SQLite database of something else: choose another path")
    else:
        # Only an empty file takes this; it lets `prune` shorten the file later.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        if connection.execute("PRAGMA auto_vacuum").get != _INCREMENTAL:
            # A power cut has torn the first header: SQLite has read what was left of it, and only then undone that.
            connection.execute("VACUUM")


def migrate(connection: apsw.Connection) -> None:
    """Run the migrations that the file has not seen, in one transaction; whoever comes second finds them done."""
    newest = len(migrations())
    if connection.execute("PRAGMA user_version").get == newest:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = connection.execute("PRAGMA user_version").get
        # Since the format was checked a newer raven may have been here.
        _refuse_newer(done, connection.filename)
        if done < newest:
            for script in migrations_after(done):
                connection.execute(script)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {newest}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _refuse_newer(version: int, path: str) -> None:
    if version > len(migrations()):
        raise NewerSchemaError(
            f"the bus {path} has schema version {version}, this raven knows {len(migrations())}: upgrade raven"
        )
