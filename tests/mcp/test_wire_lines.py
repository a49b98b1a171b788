"""Lines that are no request, or a bad one: each gets the right error, and the server lives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mcp.harness import McpClient, McpError
from tests.odd_input import BYTES, SECRETS, TEXTS, VALUES

StartMcp = Callable[..., McpClient]
LIMIT = 4 * 1024 * 1024


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"{",
        b'{"jsonrpc":"2.0","id":1,"method":"ping"',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}}',
        b"\xff\xfe\x00",
        b'{"a":"\xff"}',
        b"{'id':1}",
        b"NaN",
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1e999,"method":"ping"}',
    ],
    ids=lambda line: line[:20].decode(errors="replace"),
)
def test_a_line_that_is_not_json_is_a_parse_error_and_the_next_is_read(start_mcp: StartMcp, line: bytes) -> None:
    client = start_mcp()

    client.write_bytes(line + b"\n")

    assert client.error().code == -32700
    assert client.request("ping") == {}


@pytest.mark.parametrize("length", [LIMIT + 1, 3 * LIMIT])
def test_a_line_over_the_limit_is_a_parse_error_and_the_next_is_read(start_mcp: StartMcp, length: int) -> None:
    client = start_mcp()
    start, end = b'{"jsonrpc":"2.0","id":9,"method":"', b'"}'

    client.write_bytes(start + b"x" * (length - len(start) - len(end)) + end + b"\n")

    error = client.error()
    assert (error.code, error.message) == (-32700, "the line is longer than 4 MiB: send less at once")
    assert client.request("ping") == {}
    assert not client.has_response(9)


def test_a_line_of_just_the_limit_is_read(start_mcp: StartMcp) -> None:
    client = start_mcp()
    start, end = b'{"jsonrpc":"2.0","id":9,"method":"ping","params":{"x":"', b'"}}'

    client.write_bytes(start + b"x" * (LIMIT - len(start) - len(end)) + end + b"\n")

    assert client.response(9) == {}


@pytest.mark.parametrize("batch", [[], [1], [{"jsonrpc": "2.0", "id": 1, "method": "ping"}] * 2])
def test_a_batch_is_refused_as_a_whole(start_mcp: StartMcp, batch: list[Any]) -> None:
    client = start_mcp()

    client.write(batch)

    error = client.error()
    assert (error.code, error.message) == (-32600, "MCP has no batches: send one request a line")
    assert client.request("ping") == {}


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "ping", ""])
def test_a_value_that_is_no_object_is_an_invalid_request(start_mcp: StartMcp, value: Any) -> None:
    client = start_mcp()

    client.write(value)

    assert client.error().code == -32600


@pytest.mark.parametrize("id", [0, -1, 7, 2**53, 2**63, 10**300, "", "7", "é😀", "x" * 10_000, "\ud800", "\x00\n"])
def test_a_string_or_an_integer_comes_back_as_the_id_that_it_was(start_mcp: StartMcp, id: Any) -> None:
    client = start_mcp()

    client.send("ping", id=id)

    assert client.response(id) == {}


@pytest.mark.parametrize("id", [None, True, False, 1.5, 1.0, [], [1], {}, {"a": 1}], ids=json.dumps)
def test_an_id_of_another_type_is_an_invalid_request(start_mcp: StartMcp, id: Any) -> None:
    client = start_mcp()

    client.write({"jsonrpc": "2.0", "id": id, "method": "ping"})

    error = client.error()
    assert error.code == -32600
    assert error.message.endswith("is neither a string nor an integer")


def test_the_number_and_the_string_of_the_same_digits_are_two_ids(start_mcp: StartMcp) -> None:
    client = start_mcp("--as", "a:s")
    client.send("tools/call", {"name": "inbox", "arguments": {"wait_s": 60}}, id=77)
    client.send("tools/call", {"name": "inbox", "arguments": {"wait_s": 60}}, id="77")

    client.notify("notifications/cancelled", {"requestId": "77"})

    with pytest.raises(McpError, match="-32600: a call with this id still waits"):
        client.response(client.send("ping", id=77))
    assert client.response(client.send("ping", id="77")) == {}


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({"id": 5, "method": "ping"}, -32600, "jsonrpc is None: it must be '2.0'"),
        ({"jsonrpc": "1.0", "id": 5, "method": "ping"}, -32600, "jsonrpc is '1.0': it must be '2.0'"),
        ({"jsonrpc": 2.0, "id": 5, "method": "ping"}, -32600, "jsonrpc is 2.0: it must be '2.0'"),
        ({"jsonrpc": "2.0", "id": 5}, -32600, "the method None is not a string"),
        ({"jsonrpc": "2.0", "id": 5, "method": 7}, -32600, "the method 7 is not a string"),
        ({"jsonrpc": "2.0", "id": 5, "method": "ping", "params": [1]}, -32602, "params is [1]: it must be an object"),
        ({"jsonrpc": "2.0", "id": 5, "method": "ping", "params": "x"}, -32602, "params is 'x': it must be an object"),
        (
            {"jsonrpc": "2.0", "id": 5, "method": "x", "params": {"_meta": 1}},
            -32602,
            "_meta is 1: it must be an object",
        ),
        ({"jsonrpc": "2.0", "id": 5, "method": "Ping"}, -32601, "there is no method 'Ping'"),
        ({"jsonrpc": "2.0", "id": 5, "method": ""}, -32601, "there is no method ''"),
        ({"jsonrpc": "2.0", "id": 5, "method": "x" * 9000}, -32601, "there is no method 'xxx"),
        ({"jsonrpc": "2.0", "id": 5, "method": "resources/list"}, -32601, "there is no method 'resources/list'"),
        ({"jsonrpc": "2.0", "id": 5, "method": "prompts/list"}, -32601, "there is no method 'prompts/list'"),
        ({"jsonrpc": "2.0", "id": 5, "method": "notifications/initialized"}, -32601, "there is no method 'notif"),
    ],
)
def test_a_bad_request_gets_the_error_that_names_its_fault(
    start_mcp: StartMcp, message: dict[str, Any], code: int, reason: str
) -> None:
    client = start_mcp()

    client.write(message)

    with pytest.raises(McpError) as refused:
        client.response(5)
    assert refused.value.code == code
    assert refused.value.message.startswith(reason)
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, "there is no tool None: tools/list names them"),
        ({"name": 7}, "there is no tool 7"),
        ({"name": "no_such"}, "there is no tool 'no_such'"),
        ({"name": "Inbox"}, "there is no tool 'Inbox'"),
        ({"name": "inbox", "arguments": [1]}, r"the arguments \[1\] are not an object"),
        ({"name": "inbox", "arguments": "x"}, "the arguments 'x' are not an object"),
    ],
)
def test_a_call_of_no_tool_or_with_no_arguments_object_is_refused(
    start_mcp: StartMcp, params: dict[str, Any], reason: str
) -> None:
    with pytest.raises(McpError, match=f"-32602: {reason}"):
        start_mcp().request("tools/call", params)


@pytest.mark.parametrize("arguments", [{}, {"arguments": None}, {"arguments": {}}])
def test_a_call_may_leave_out_its_arguments(start_mcp: StartMcp, arguments: dict[str, Any]) -> None:
    client = start_mcp("--as", "a:s")

    assert not client.request("tools/call", {"name": "inbox", **arguments}).get("isError")


def test_the_list_of_tools_has_no_second_page(start_mcp: StartMcp) -> None:
    with pytest.raises(McpError, match="-32602: the list of tools has one page"):
        start_mcp().request("tools/list", {"cursor": "2"})


@pytest.mark.parametrize(
    "notification",
    [
        {"method": "notifications/initialized"},
        {"method": "notifications/no_such"},
        {"method": "notifications/no_such", "params": [1]},
        {"method": "notifications/no_such", "params": {"_meta": 1}},
        {"method": "ping"},
        {"method": "tools/call", "params": {"name": "no_such"}},
        {"method": "tools/list"},
        {"method": "notifications/cancelled"},
        {"method": "notifications/cancelled", "params": {"requestId": None}},
        {"method": "notifications/cancelled", "params": {"requestId": [1]}},
        {"method": "notifications/cancelled", "params": {"requestId": {"a": 1}}},
        {"method": "notifications/cancelled", "params": {"requestId": 1e300}},
    ],
)
def test_a_notification_is_never_answered(start_mcp: StartMcp, notification: dict[str, Any]) -> None:
    client = start_mcp()

    client.write({"jsonrpc": "2.0", **notification})
    client.request("ping")

    assert (client.notifications, client.unclaimed()) == ([], [])


@pytest.mark.parametrize("response", [{"result": {}}, {"error": {"code": 1, "message": "x"}}])
def test_a_response_of_the_host_is_ignored_for_the_server_asks_nothing(
    start_mcp: StartMcp, response: dict[str, Any]
) -> None:
    client = start_mcp()

    client.write({"jsonrpc": "2.0", "id": 3, **response})
    client.request("ping")

    assert client.unclaimed() == []


def test_lines_in_pieces_and_several_in_one_piece_are_read_alike(start_mcp: StartMcp) -> None:
    client = start_mcp()
    lines = b"".join(b'{"jsonrpc":"2.0","id":"%d","method":"ping"}\r\n\n  \n' % number for number in range(50))

    for at in range(0, len(lines), 7):
        client.write_bytes(lines[at : at + 7])
    client.write_bytes(lines.replace(b'"id":"', b'"id":"x'))

    assert [client.response(f"{prefix}{number}") for prefix in ("", "x") for number in range(50)] == [{}] * 100


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.one_of(
            BYTES.map(lambda data: data.replace(b"\n", b"")),
            VALUES.map(lambda value: json.dumps(value).encode()),
            st.fixed_dictionaries(
                {"jsonrpc": st.just("2.0"), "id": VALUES},
                optional={
                    "method": st.one_of(TEXTS, st.sampled_from(["initialize", "tools/list", "tools/call", "ping"])),
                    "params": st.one_of(VALUES, st.dictionaries(TEXTS, VALUES, max_size=3)),
                },
            ).map(lambda value: json.dumps(value).encode()),
        ),
        max_size=8,
    )
)
def test_whatever_the_lines_are_each_gets_at_most_one_answer_without_inner_names(
    fuzzed: McpClient, lines: list[bytes]
) -> None:
    written = sum(1 for line in lines if line.strip())

    fuzzed.write_bytes(b"".join(line + b"\n" for line in lines))
    fuzzed.request("ping")

    answers = fuzzed.unclaimed()
    assert len(answers) <= written
    for answer in answers:
        told = answer.get("error", {}).get("message", "")
        assert not [secret for secret in SECRETS if secret in told]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpClient]:
    """Return one server for all examples, whose ids the lines do not have."""
    folder = tmp_path_factory.mktemp("fuzzed")
    with McpClient(folder, db=str(folder / "bus.db"), ids=(f"host-{n}" for n in count())) as client:
        yield client
        assert client.finish() == 0
        assert client.errors() == ""
