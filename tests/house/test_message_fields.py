"""A field of a message is written once: what needs all of them makes its list from raven.model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import raven
import raven_rpc
from raven.model.draft import OPTION_TYPES, OPTIONS, SendOptions
from raven.model.message import MessageRow

# CONTRIBUTING sends here whoever adds a field: how many lines of each file name one.
DEFINED = {
    "raven/model/message.py": 2,  # Message, as its users see it, and MessageRow, as it is stored
    "raven/model/draft.py": 1,  # SendOptions
    "raven/store/sql/0001_initial.sql": 1,  # or a later migration
    "raven/store/sql/views.sql": 3,  # `outbox`: its columns, and those of its INSERT with their values
}
# Of these fields more is to be said: of what the index of a migration is for, or what asks for messages by the field.
MORE = {
    "task_id": {
        "raven/model/message.py": "an answer inherits it",
        "raven/store/sql/0001_initial.sql": "an index",
        "raven/store/sql/queries.sql": "log_of_task",
        "raven/observer.py": "history",
        "raven/bus.py": "history",
        "raven/host/bus.py": "history",
        "raven/cli/commands/inbox.py": "raven history",
        "rpc/raven_rpc/methods/params.py": "history",
        "rpc/raven_rpc/methods/read.py": "history",
        "rpc/raven_rpc/client/client.py": "history",
    },
    "dedup_key": {
        "raven/model/message.py": "a docstring",
        "raven/store/sql/0001_initial.sql": "an index",
        "raven/store/sql/views.sql": "the outbox looks whether there is one",
        "raven/store/sql/queries.sql": "find_duplicate",
        "raven/client.py": "a docstring",
        "raven/delivery/outbox.py": "what it is for",
        "rpc/raven_rpc/client/client.py": "a docstring",
        "rpc/raven_rpc/client/calls.py": "a call with a key can be sent again",
    },
}


def lines_with(field: str) -> dict[str, int]:
    """How many lines of each file of the product have a word."""
    found = {}
    for home, name in ((Path(raven.__file__).parent, "raven"), (Path(raven_rpc.__file__).parent, "rpc/raven_rpc")):
        for path in (*home.rglob("*.py"), *home.rglob("*.sql")):
            count = sum(1 for line in path.read_text("utf-8").splitlines() if re.search(rf"\b{field}\b", line))
            if count:
                found[f"{name}/{path.relative_to(home).as_posix()}"] = count
    return found


@pytest.mark.parametrize("field", MORE)
def test_a_field_stands_where_it_is_defined_and_where_something_asks_for_that_field(field: str) -> None:
    found = lines_with(field)

    assert found.keys() == DEFINED.keys() | MORE[field].keys()
    assert {file: found[file] for file in DEFINED if file not in MORE[field]} == {
        file: lines for file, lines in DEFINED.items() if file not in MORE[field]
    }


def test_an_option_is_a_column_or_has_a_use_of_its_own() -> None:
    assert OPTIONS.keys() == OPTION_TYPES.keys() == SendOptions.__annotations__.keys()
    assert OPTIONS.keys() - set(MessageRow._fields) == {"expires_in_s", "delay_s", "max_attempts"}
