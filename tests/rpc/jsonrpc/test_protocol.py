"""Lines of JSON in and out of bytes, and single requests in and out of the dispatcher."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from raven import ForbiddenError
from raven_rpc.jsonrpc import messages
from raven_rpc.methods.context import Context
from raven_rpc.methods.method import Method, Work
from raven_rpc.methods.params import Params
from raven_rpc.server.dispatch import Dispatcher

NOBODY = cast(Context, None)


class Numbers(Params):
    minuend: int
    subtrahend: int


def _forbid(context: Context, args: Params) -> None:
    raise ForbiddenError("not you")


def _break(context: Context, args: Params) -> None:
    raise ZeroDivisionError("/secret/path.py")


DISPATCHER = Dispatcher(
    {
        "subtract": Method(Numbers, lambda context, args: args.minuend - args.subtrahend, "Number"),
        "later": Method(Params, lambda context, args: Work("read", lambda: 19), "Number"),
        "forbid": Method(Params, _forbid, "Nothing"),
        "break": Method(Params, _break, "Nothing"),
    }
)


def request(method: str, params: Any = None, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params}), **more}


@pytest.mark.parametrize(
    "value", [None, True, 0, -1, 2**70, 0.1, "", "\x00\n\r\u2028é😀", [], {}, {"a": [1, {"b": None}]}]
)
def test_a_value_survives_the_wire_on_one_line(value: Any) -> None:
    line = messages.encode(value)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert messages.parse(line) == value


def test_texts_are_the_same_where_python_has_no_json_encoder_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    value: dict[str, Any] = {"text": 'é "quoted" \u2028', "list": [1, 2.5, None, True, {}], "empty": []}
    fast = "".join(messages._make_encode()(value, 0))
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)

    assert "".join(messages._make_encode()(value, 0)) == fast


def test_a_lone_surrogate_survives_the_wire_as_an_escape() -> None:
    assert messages.encode(["\ud800"]) == b'["\\ud800"]\n'
    assert messages.parse(b'["\\ud800"]\n') == ["\ud800"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"jsonrpc": "2.0", "method"', "Expecting ':' delimiter at character 27"),
        (b"", "Expecting value at character 0"),
        (b"{} {}", "Extra data at character 3"),
        (b"'x'", "Expecting value at character 0"),
        (b"[1,]", "at character"),
        (b'"\x01"', "Invalid control character at"),
        (b"\xef\xbb\xbf{}", "at character 0"),
        (b'["\xff"]', "byte 2 is not UTF-8"),
        (b"\xc3", "byte 0 is not UTF-8"),
        (b'"\xed\xa0\x80"', "byte 1 is not UTF-8"),
        (b"[NaN]", "NaN is no JSON value"),
        (b"-Infinity", "-Infinity is no JSON value"),
        (b"9" * 5000, "a number of too many digits"),
        (b"[" * 100_000, "it nests too deep"),
        (b'{"a": ' * 100_000, "it nests too deep"),
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', 'the key "c" is there twice in one object'),
        (b'{"a": 1, "\\u0061": 2}', 'the key "a" is there twice in one object'),
    ],
)
def test_what_is_no_json_text_is_refused_with_the_reason(line: bytes, reason: str) -> None:
    with pytest.raises(messages.ParseError) as caught:
        messages.parse(line)

    assert reason in str(caught.value)


def test_the_same_key_in_two_objects_is_no_duplicate() -> None:
    assert messages.parse(b'[{"a": 1}, {"a": {"a": 2}}]') == [{"a": 1}, {"a": {"a": 2}}]


@pytest.mark.parametrize("line", [b"1e999", b"[-1e999]", b'{"id": 1e400}'])
def test_a_number_too_big_to_hold_is_refused_or_written_as_json(line: bytes) -> None:
    try:
        written = messages.encode(messages.parse(line))
    except (messages.ParseError, ValueError):
        return
    json.loads(written, parse_constant=pytest.fail)


def test_a_method_that_leaves_work_has_no_response_yet() -> None:
    reply = DISPATCHER.dispatch(request("later", id="x"), NOBODY)

    assert (reply.wants_response, reply.id, reply.response) == (True, "x", None)
    assert reply.work is not None
    assert reply.work.run() == 19


def test_a_notification_has_no_response_and_its_work_is_still_to_be_done() -> None:
    reply = DISPATCHER.dispatch(request("later"), NOBODY)

    assert (reply.wants_response, reply.response) == (False, None)
    assert reply.work is not None


@pytest.mark.parametrize(
    "notification",
    [request("nothing"), request("subtract", [1]), request("forbid"), request("break"), request("subtract", {"x": 1})],
)
def test_a_notification_that_goes_wrong_is_not_answered(notification: dict[str, Any]) -> None:
    reply = DISPATCHER.dispatch(notification, NOBODY)

    assert (reply.wants_response, reply.response, reply.work) == (False, None, None)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ([1], "'subtrahend' is missing"),
        ([1, 2, 3], "3 parameters are too many"),
        ({"minuend": 1}, "'subtrahend' is missing"),
        ({"minuend": 1, "subtrahend": 2, "call": 3}, "'call' is no parameter here"),
        ({"minuend": 1, "subtrahend": 2, "self": 3}, "'self' is no parameter here"),
        ({"minuend": 1, "subtrahend": 2, "strange": 3}, "'strange' is no parameter here"),
        ({"minuend": "1", "subtrahend": 2}, "minuend '1': "),
        ({"minuend": 1.0, "subtrahend": 2}, "minuend 1.0: "),
        ({"minuend": True, "subtrahend": 2}, "minuend True: "),
        ({"minuend": None, "subtrahend": 2}, "minuend None: "),
    ],
)
def test_parameters_that_do_not_fit_are_refused_with_the_name_and_the_usage(params: Any, reason: str) -> None:
    reply = DISPATCHER.dispatch(request("subtract", params, id=1), NOBODY)

    assert reply.response is not None
    error = reply.response["error"]
    assert (error["code"], error["data"]["kind"]) == (-32602, "invalid_params")
    assert error["message"].startswith(reason)
    assert "this method takes minuend, subtrahend" in error["message"]


@pytest.mark.parametrize(
    "malformed",
    [
        1, "ping", None, True, [], [request("subtract", [1, 2], id=1)], {},
        {"method": "subtract", "params": [1, 2], "id": 1},
        {**request("subtract", [1, 2], id=1), "jsonrpc": "1.0"},
        {**request("subtract", [1, 2], id=1), "jsonrpc": 2.0},
        {"jsonrpc": "2.0", "id": 1},
        {"jsonrpc": "2.0", "method": 1, "id": 1},
        {"jsonrpc": "2.0", "method": None},
        request("subtract", "12", id=1), request("subtract", 1), {**request("subtract"), "params": None},
        request("subtract", True), request("subtract", 1.5),
        *[request("subtract", [1, 2], id=id) for id in ([], [1], {}, {"id": 1}, True, False)],
    ],
)  # fmt: skip
def test_what_is_no_request_is_answered_with_the_id_null_and_not_done(malformed: Any) -> None:
    reply = DISPATCHER.dispatch(malformed, NOBODY)

    assert reply.work is None
    assert reply.response is not None
    assert reply.response["id"] is None
    error = reply.response["error"]
    assert (error["code"], error["message"], error["data"]["kind"]) == (-32600, "Invalid Request", "invalid_request")


@pytest.mark.parametrize("id", ["", "x", "\ud800", 0, -1, 2**70, 1.5, None])
def test_an_id_comes_back_as_it_was_in_results_and_errors(id: Any) -> None:
    result = DISPATCHER.dispatch(request("subtract", [3, 1], id=id), NOBODY).response
    error = DISPATCHER.dispatch(request("nothing", [3, 1], id=id), NOBODY).response

    assert result == {"jsonrpc": "2.0", "result": 2, "id": id}
    assert error is not None
    assert (error["id"], error["error"]["code"], error["error"]["message"]) == (id, -32601, "Method not found")


def test_an_error_of_raven_in_a_method_is_sent_and_any_other_is_not(caplog: pytest.LogCaptureFixture) -> None:
    forbidden = DISPATCHER.dispatch(request("forbid", id=1), NOBODY).response
    broken = DISPATCHER.dispatch(request("break", id=1), NOBODY).response

    assert forbidden is not None
    assert broken is not None
    assert (forbidden["error"]["data"]["kind"], forbidden["error"]["message"]) == ("forbidden", "not you")
    assert (broken["error"]["code"], broken["error"]["message"]) == (-32603, "Internal error")
    assert "secret" not in json.dumps(broken)
    assert "ZeroDivision" not in json.dumps(broken)
    assert "ZeroDivisionError" in caplog.text  # in the log only
