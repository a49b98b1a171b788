"""User SQL: statements that a user runs in the bus file.

The authorizer keeps them from changing raven's tables. While one runs, Python handles the signals of the process: an
exception of a handler, as that of Ctrl-C, ends the statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from raven.errors import StatementError, abbreviate

if TYPE_CHECKING:
    import apsw

_OK, _DENY = 0, 1
_MAX_SHOWN = 100
# Action codes of SQLite's authorizer (https://sqlite.org/c3ref/c_alter_table.html). Always denied: PRAGMA, BEGIN and
# COMMIT, ATTACH, DETACH, ANALYZE (it would change the plans of raven's statements) and SAVEPOINT. For the other codes,
# the sets below say which of the two arguments names the table or view.
_FORBIDDEN = frozenset({19, 22, 24, 25, 28, 32})
_INSERT, _FUNCTION = 18, 31
_CREATE_TRIGGER = frozenset({5, 7})
_TABLE_FIRST = frozenset({2, 4, 6, 8, 9, 11, 13, 15, 17, _INSERT, 23, 29, 30})
_TABLE_SECOND = frozenset({1, 3, 5, 7, 10, 12, 14, 16, 26})
# Raven's tables and views, and the table-valued function that its statements call.
_RESERVED_NAMES = frozenset({
    "messages", "deliveries", "identities", "meta", "link_hosts", "link_out", "link_in", "link_news",
    "delivery_changes", "raven_agents", "raven_mutes", "log", "pending", "outbox", "json_each",
})  # fmt: skip
# The function that SQLite calls within ALTER TABLE ... RENAME TO. It does not pass the new name, so raven checks the
# schema afterwards.
_RENAME_FUNCTION = "sqlite_rename_table"
_SHADOWING_TABLES = (
    "SELECT name FROM temp.sqlite_schema UNION ALL SELECT name FROM sqlite_schema WHERE lower(name) = 'json_each'"
)
_OUTBOX_TRIGGER = "outbox_insert"
_RESERVED_TRIGGERS = frozenset({_OUTBOX_TRIGGER, "delivery_changed", "delivery_changes_trim"})
# SQLite runs so many instructions in a few milliseconds.
_INSTRUCTIONS_PER_CHECK = 20_000
# The driver's exceptions that the statement causes, and not the file.
_STATEMENT_ERRORS = frozenset({
    "SQLError", "ConstraintError", "AuthError", "MismatchError", "BindingsError", "RangeError", "TooBigError",
    "MisuseError", "SchemaChangeError",
})  # fmt: skip
# The state of a `partial` that returns SQLITE_OK for any arguments, for the statements of raven. C code alone: in a
# Python function a signal handler could raise, and SQLite would refuse the ROLLBACK that it compiles.
_ALLOW_ALL: Any = (max, (_OK,), {"key": [].count}, None)


class Authorizer:
    """SQLite's authorizer callback for user SQL: decides for each action of a statement that SQLite compiles."""

    def __init__(self) -> None:
        self.saw_rename = False

    def __call__(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
    ) -> int:
        """Return SQLITE_OK or SQLITE_DENY for one action."""
        if trigger == _OUTBOX_TRIGGER:
            return _OK
        if action in _FORBIDDEN:
            return _DENY
        if action == _FUNCTION and second == _RENAME_FUNCTION:
            self.saw_rename = True
        if action in _CREATE_TRIGGER and first is not None and first.lower() in _RESERVED_TRIGGERS:
            return _DENY
        table = first if action in _TABLE_FIRST else second if action in _TABLE_SECOND else None
        is_send = action == _INSERT and table == "outbox"
        return _DENY if table is not None and table.lower() in _RESERVED_NAMES and not is_send else _OK


def _handle_signals() -> bool:
    """Let the statement go on: SQLite's progress handler. Python handles pending signals when any function begins."""
    return False


def run(connection: apsw.Connection, sql: str, params: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run user SQL in the open transaction and return its rows; raises StatementError.

    An exception of a signal handler passes. SQLite has then rolled back the transaction if the statement was a write.
    """
    if isinstance(params, str | bytes) or not isinstance(params, Sequence | Mapping):
        raise StatementError(f"params {abbreviate(params)} is neither a list nor a dict of values")
    # Set at the first user statement only: setting an authorizer makes SQLite recompile all other statements.
    switch: Any = connection.authorizer
    if switch is None:
        switch = partial(max)
        switch.__setstate__(_ALLOW_ALL)
        connection.authorizer = switch
    authorizer = Authorizer()
    try:
        switch.__setstate__((authorizer, (), {}, None))
        connection.set_progress_handler(_handle_signals, _INSTRUCTIONS_PER_CHECK)
        # Without the statement cache: it holds raven's own COMMIT, which was compiled as allowed.
        rows = connection.execute(sql, params, can_cache=False).fetchall()
    except Exception as error:
        kind = type(error).__name__
        is_of_statement = kind in _STATEMENT_ERRORS or isinstance(
            error, TypeError | ValueError | LookupError | OverflowError
        )
        if not is_of_statement or _came_from_a_signal(error):
            raise
        shown = " ".join(sql[:_MAX_SHOWN].split()) if isinstance(sql, str) else sql
        hint = "; user SQL cannot change raven's tables or end the transaction" if kind == "AuthError" else ""
        raise StatementError(f"the statement {abbreviate(shown)} failed: {str(error)[:_MAX_SHOWN]}{hint}") from error
    finally:
        try:
            connection.set_progress_handler(None)
        finally:
            switch.__setstate__(_ALLOW_ALL)
    if authorizer.saw_rename:
        taken = [row[0] for row in connection.execute(_SHADOWING_TABLES) if row[0].lower() in _RESERVED_NAMES]
        if taken:
            raise StatementError(
                f"the name {abbreviate(taken[0])} is reserved by raven: choose another name for your table"
            )
    return rows


def _came_from_a_signal(error: Exception) -> bool:
    """Whether an exception came out of a function that SQLite called, as that of a signal handler does."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_code)
        trace = trace.tb_next
    return _handle_signals.__code__ in frames or Authorizer.__call__.__code__ in frames
