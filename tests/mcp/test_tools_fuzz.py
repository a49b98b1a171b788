"""Any arguments for any tool: a result or an error in one line, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raven import BusClient
from raven_mcp.tools import table
from tests.mcp.harness import McpClient
from tests.odd_input import NUMBERS, SECRETS, TEXTS, VALUES

SMALL_WAITS = st.sampled_from([0, 0.001, -1, "1", None])


def arguments(tool: str) -> st.SearchStrategy[dict[str, object]]:
    """Return arguments of which many have the right names and kinds."""
    kinds = {
        table.TEXT: TEXTS,
        table.INTEGER: st.one_of(st.integers(1, 20), NUMBERS),
        table.NUMBER: NUMBERS,
        table.FLAG: st.booleans(),
        table.ANY: VALUES,
        table.TEXTS: st.one_of(TEXTS, st.lists(TEXTS, max_size=4)),
        table.INTEGERS: st.lists(st.one_of(st.integers(1, 20), NUMBERS), max_size=4),
    }
    parameters = table.TOOLS[tool].parameters
    fields = {
        name: SMALL_WAITS if name == "wait_s" else st.one_of(kinds[parameter.kind], kinds[parameter.kind], VALUES)
        for name, parameter in parameters.items()
    }
    required = {name: field for name, field in fields.items() if parameters[name].is_required}
    optional = {name: field for name, field in fields.items() if name not in required}
    return st.one_of(st.fixed_dictionaries(required, optional=optional), st.dictionaries(TEXTS, VALUES, max_size=3))


CALLS = st.sampled_from(list(table.TOOLS)).flatmap(lambda tool: st.tuples(st.just(tool), arguments(tool)))


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpClient]:
    """Return a server whose bus has some mail for it."""
    folder: Path = tmp_path_factory.mktemp("agent")
    db = str(folder / "bus.db")
    with BusClient.at("b:s", db) as b, McpClient(folder, "--as", "a:s", db=db) as client:
        b.send_many([{"to": "a:s", "type": "note", "body": number} for number in range(10)])
        client.start()
        yield client


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(call=CALLS)
def test_any_call_has_a_result_or_an_error_in_one_line(agent: McpClient, call: tuple[str, dict[str, object]]) -> None:
    tool, given_arguments = call

    result = agent.response(agent.begin(tool, **given_arguments))

    [content] = result["content"]
    text = content["text"]
    if result.get("isError"):
        assert text.isprintable(), text
        assert not [word for word in SECRETS if word in text], text
        assert "fault" not in text, text
    else:
        assert isinstance(json.loads(text), dict)
        assert len(text) <= 12_000
    assert agent.errors() == ""
