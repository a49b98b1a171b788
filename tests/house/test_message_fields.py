"""A field of a message is defined once: code that needs all fields makes its list from raven.model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import raven
import raven_http
import raven_mcp
import raven_rpc
from raven.model.message import MessageRow
from raven.model.new_message import OPTION_TYPES, OPTIONS, SendOptions

# How many lines of each file name a field, as CONTRIBUTING says to add one.
DEFINED = {
    "raven/model/message.py": 2,  # Message, the public value, and MessageRow, the stored row
    "raven/model/new_message.py": 1,  # SendOptions
    "raven/store/sql/0001_initial.sql": 1,  # or a later migration
    "raven/store/sql/views.sql": 3,  # `outbox`: its columns, and the columns and values of its INSERT
}
# Additional lines for some fields in these files, each with its reason.
MORE = {
    "task_id": {
        "raven/model/message.py": (1, "an answer inherits it"),
        "raven/store/sql/0001_initial.sql": (1, "an index"),
        "raven/store/sql/views.sql": (2, "the outbox checks the text"),
    },
    "dedup_key": {
        "raven/model/message.py": (1, "the docstring of `duplicate`"),
        "raven/store/sql/0001_initial.sql": (1, "an index"),
        "raven/store/sql/views.sql": (5, "the outbox checks the text, and looks whether the sender has used it"),
    },
}
# Other files name a field if they are about that very field.
ELSEWHERE = {
    "task_id": {
        "raven/store/sql/queries.sql": "log_of_task",
        "raven/client.py": "the docstring of send",
        "raven/observer.py": "history",
        "raven/bus.py": "history",
        "raven/host/bus.py": "history",
        "raven/cli/commands/inbox.py": "raven history",
        "rpc/raven_rpc/methods/params.py": "history",
        "rpc/raven_rpc/methods/read.py": "history",
        "rpc/raven_rpc/client/client.py": "history",
    },
    "dedup_key": {
        "raven/store/sql/queries.sql": "find_duplicate",
        "raven/exchange/intake.py": "a message of another host may have a key that was used here",
        "raven/store/sql/exchange.sql": "duplicates_among",
        "raven/client.py": "the docstring of send",
        "raven/delivery/outbox.py": "a key that was used stores nothing",
        "rpc/raven_rpc/methods/send.py": "an answer may show the first message of each key",
        "rpc/raven_rpc/client/client.py": "a docstring: a request that is sent twice",
        "rpc/raven_rpc/client/calls.py": "a call with a key can be sent again",
        "rpc/raven_mcp/tools/table.py": "a parameter of the tool `send`",
        "rpc/raven_rpc/client/exchange.py": "the error of a lost connection names it as the remedy",
    },
}


def lines_with(field: str) -> dict[str, int]:
    """Return the number of lines of each file of the product that have a word."""
    counts = {}
    homes = {"raven": raven, "rpc/raven_rpc": raven_rpc, "rpc/raven_http": raven_http, "rpc/raven_mcp": raven_mcp}
    for name, home in ((name, Path(package.__file__).parent) for name, package in homes.items() if package.__file__):
        for path in (*home.rglob("*.py"), *home.rglob("*.sql")):
            count = sum(1 for line in path.read_text("utf-8").splitlines() if re.search(rf"\b{field}\b", line))
            if count:
                counts[f"{name}/{path.relative_to(home).as_posix()}"] = count
    return counts


@pytest.mark.parametrize("field", ELSEWHERE)
def test_a_field_stands_where_it_is_defined_and_in_what_is_about_that_very_field(field: str) -> None:
    counts = lines_with(field)

    assert counts.keys() == DEFINED.keys() | ELSEWHERE[field].keys()
    assert {file: counts[file] for file in DEFINED} == {
        file: lines + MORE[field].get(file, (0, ""))[0] for file, lines in DEFINED.items()
    }


def test_an_option_is_a_column_or_has_a_use_of_its_own() -> None:
    assert OPTIONS.keys() == OPTION_TYPES.keys() == SendOptions.__annotations__.keys()
    assert OPTIONS.keys() - set(MessageRow._fields) == {"expires_in_s", "delay_s", "max_attempts"}
