"""Own SQL: statements of the user's own in the bus file, which may do anything but harm the bus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raven.errors import StatementError

if TYPE_CHECKING:
    import apsw

_OK, _DENY = 0, 1
# Action codes of SQLite's authorizer (https://sqlite.org/c3ref/c_alter_table.html): never allowed are PRAGMA, BEGIN and
# COMMIT, ATTACH, DETACH, ANALYZE (the plans of raven's statements must stay as they are) and SAVEPOINT; of the others
# it counts which of their two arguments names a table or a view.
_FORBIDDEN = frozenset({19, 22, 24, 25, 28, 32})
_INSERT, _FUNCTION = 18, 31
_CREATE_TRIGGER = frozenset({5, 7})
_TABLE_FIRST = frozenset({2, 4, 6, 8, 9, 11, 13, 15, 17, _INSERT, 23, 29, 30})
_TABLE_SECOND = frozenset({1, 3, 5, 7, 10, 12, 14, 16, 26})
# And what raven's statements call by a name that a table could take.
_RESERVED_NAMES = frozenset({"messages", "deliveries", "identities", "meta", "log", "pending", "outbox", "json_each"})
# What SQLite calls within ALTER TABLE ... RENAME TO, where it does not tell the new name: that is seen after it.
_RENAME_FUNCTION = "sqlite_rename_table"
_SHADOWING_TABLES = (
    "SELECT name FROM temp.sqlite_schema UNION ALL SELECT name FROM sqlite_schema WHERE lower(name) = 'json_each'"
)
_OUTBOX_TRIGGER = "outbox_insert"
# By the names of the driver's exceptions: those that are the statement's fault, and not the file's.
_STATEMENT_ERRORS = frozenset({
    "SQLError", "ConstraintError", "AuthError", "MismatchError", "BindingsError", "RangeError", "TooBigError",
    "MisuseError", "SchemaChangeError",
})  # fmt: skip


class Authorizer:
    """What SQLite asks while it prepares a statement: is that allowed? Raven's own statements always are."""

    def __init__(self) -> None:
        self.is_active = self.saw_rename = False

    def __call__(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
    ) -> int:
        """Return SQLite's word for yes or no."""
        if not self.is_active or trigger == _OUTBOX_TRIGGER:
            return _OK
        if action in _FORBIDDEN:
            return _DENY
        if action == _FUNCTION and second == _RENAME_FUNCTION:
            self.saw_rename = True
        if action in _CREATE_TRIGGER and first is not None and first.lower() == _OUTBOX_TRIGGER:
            return _DENY
        table = first if action in _TABLE_FIRST else second if action in _TABLE_SECOND else None
        is_send = action == _INSERT and table == "outbox"
        return _DENY if table is not None and table.lower() in _RESERVED_NAMES and not is_send else _OK


def run(connection: apsw.Connection, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run statements in the transaction that is open, and return their rows; raises StatementError."""
    if isinstance(params, str | bytes) or not isinstance(params, Sequence | Mapping):
        raise StatementError(f"params {params!r} is neither a list of values nor a dict of them")
    # Only from the first such statement on: to set it makes SQLite compile all other statements anew.
    if not isinstance(connection.authorizer, Authorizer):
        connection.authorizer = Authorizer()
    authorizer = connection.authorizer
    authorizer.is_active, authorizer.saw_rename = True, False
    try:
        # Not from the cache, where raven's own COMMIT is found, which was allowed.
        rows = connection.execute(sql, params, can_cache=False).fetchall()
    except Exception as error:
        kind = type(error).__name__
        if kind not in _STATEMENT_ERRORS and not isinstance(
            error, TypeError | ValueError | LookupError | OverflowError
        ):
            raise
        shown = " ".join(str(sql).split())
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        hint = "; raven's tables, and transactions, are not yours to change here" if kind == "AuthError" else ""
        raise StatementError(f"the statement {shown!r} failed: {error}{hint}") from error
    finally:
        authorizer.is_active = False
    if authorizer.saw_rename:
        taken = [row[0] for row in connection.execute(_SHADOWING_TABLES) if row[0].lower() in _RESERVED_NAMES]
        if taken:
            raise StatementError(f"the name {taken[0]!r} is raven's: rename your table to another")
    return rows
