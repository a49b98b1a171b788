"""Migrations: check that a file is a bus, read its schema version, and upgrade it to this raven's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raven.errors import NewerSchemaError, NotABusError
from raven.store.sql import migrations, migrations_after

if TYPE_CHECKING:
    import apsw

APPLICATION_ID = int.from_bytes(b"RAVN", "big")
_INCREMENTAL = 2


def check_format(connection: apsw.Connection, path: str) -> None:
    """Raise an error if the database is not a bus or comes from a newer raven; prepare an empty file."""
    # In one transaction: another process could create the schema between the queries.
    connection.execute("BEGIN")
    application = connection.execute("PRAGMA application_id").get
    version = connection.execute("PRAGMA user_version").get
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    connection.execute("ROLLBACK")
    if application == APPLICATION_ID:
        _refuse_newer(version, path)
    elif application or version or tables:
        raise NotABusError(f"{path} is an SQLite database of another program: choose another path")
    else:
        # Works on an empty file only; `prune` needs it to shorten the file later.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        if connection.execute("PRAGMA auto_vacuum").get != _INCREMENTAL:
            # After a power cut tore the first header: SQLite read the rest of it, and only then rolled it back.
            connection.execute("VACUUM")


def migrate(connection: apsw.Connection) -> None:
    """Run the migrations that the file lacks, in one transaction; a second process has no migration to run."""
    newest = len(migrations())
    if connection.execute("PRAGMA user_version").get == newest:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = connection.execute("PRAGMA user_version").get
        # Since the format check, a newer raven may have upgraded the file.
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
