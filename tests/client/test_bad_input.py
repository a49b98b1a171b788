"""Invalid values are refused: the error names the parameter and the value, and nothing is done.

Each value is tried with the client of the file, the Python client of the socket, and bare JSON over the socket.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from raven import AddressError, BodyError, BusClient, InputError, MessageNotFoundError, RavenError
from raven_rpc import Client
from raven_rpc.methods.table import METHODS
from scripts.harness.line import Line
from tests.support import bells
from tests.thread_server import ServedHere

ME = "worker:s"
NAN, INFINITE, LONG = float("nan"), float("inf"), "x" * 1025
# Of each method: what makes it a good call together with a good value.
GOOD: dict[str, dict[str, Any]] = {
    "send": {"to": ME, "type": "job"},
    "send_many": {"to": ME, "type": "job"},
    "reply": {"msg": 1, "type": "answer"},
    "request": {"to": ME, "type": "ask", "timeout_s": 0.01},
    "request_async": {"to": ME, "type": "ask", "timeout_s": 0.01},
    "inbox": {"peek": True},
    "claim": {},
    "read": {"id": 1},
    "recipients": {"id": 1},
    "ack": {"id": 1},
    "nack": {"id": 1},
    "extend": {"id": 1},
    "receipts": {"id": 1},
    "wait_receipt": {"id": 1, "state": "sent", "timeout_s": 0},
    "wait_receipt_async": {"id": 1, "state": "sent", "timeout_s": 0},
    "thread": {"id": 1},
    "history": {"correlation_id": "c"},
    "dead": {},
    "purge_dead": {},
    "requeue": {"all": True},
    "prune": {"older_than_s": 60, "dry_run": True},
    "forget": {},
    "register": {},
    "listen": {"timeout_s": 0, "ack": "manual"},
    "subscribe": {"timeout_s": 0, "ack": "manual"},
    "tail": {"timeout_s": 0},
}
COUNTS = (0, -1, 1.5, "5", None, True, NAN, [1], 10**20)
SECONDS = (-1, "5", True, NAN, INFINITE, [1])
LEASES = (0, *SECONDS, None, 86401)
IDS = ("1", None, 1.0, True, [1])
ROLES = ("worker", "*:s", "", "a:b:c")


class Refusal(NamedTuple):
    """Values that these methods refuse with this error; its text is `said`, or names the parameter and the value."""

    methods: str
    parameter: str
    values: tuple[Any, ...]
    kind: type[RavenError] = InputError
    said: str | None = None


REFUSALS = [
    Refusal("send", "to", ("architect", "", "a:b:c", ["a:s", 7], [], 5), AddressError, ""),
    Refusal("send reply request", "type", ("", "  ", 7, None, LONG, "\ud800", ["x"])),
    Refusal("send reply request", "body",
            ({1}, {(1, 2): 3}, b"1", "\ud800", NAN, {"n": [INFINITE]}), BodyError, ""),
    Refusal("send send_many", "urgency", ("soon", "", "Blocking", None, ["fyi"])),
    Refusal("send", "tags", ("x", {"x"}, 5)),
    Refusal("send", "tags", ([""], ["good", 5], ["\udfff"]), InputError, "tag"),
    Refusal("send", "correlation_id", ("", 1.5, True, "\ud800")),
    Refusal("send", "task_id", (" ", ["t"], LONG)),
    Refusal("send", "dedup_key", ("", "  ", LONG, 1.5, True, ["a"], b"a", "\ud800")),
    Refusal("send", "reply_to", (0, -1, "5", 5.0, True, 1 << 43)),
    Refusal("send", "expires_in_s", (0, 1e12, *SECONDS)),
    Refusal("send", "delay_s", (-0.1, *SECONDS)),
    Refusal("send send_many", "report", ("", "Undelivered", "all", True, False, 1, ["undelivered"])),
    Refusal("send send_many", "max_attempts", (0, -1, 1.5, "5", True, False, NAN, 1_000_001, [1])),
    Refusal("reply", "msg", (None, "7", 1.5, True, {}), InputError, "{bad!r} is neither a message nor an id"),
    Refusal("request request_async", "timeout_s", (0, None, *SECONDS, 7 * 86400 + 1, 10**400, 1j)),
    Refusal("reply", "msg", (9, 1 << 70), MessageNotFoundError, "there is no message #{bad}"),
    Refusal("request", "expires_in_s", (5,), InputError, "a request has no option expires_in_s"),
    Refusal("request", "dedup_key", ("k",), InputError, "a request has no option dedup_key"),
    Refusal("request", "report", ("undelivered",), InputError, "a request has no option report"),
    Refusal("inbox claim thread dead", "max", COUNTS),
    Refusal("claim extend", "lease_s", LEASES),
    Refusal("read recipients ack nack extend receipts wait_receipt wait_receipt_async thread", "id", IDS),
    Refusal("read recipients ack nack extend receipts wait_receipt thread", "id",
            (0, -1, 9, 1 << 43, 1 << 62, 1 << 70), MessageNotFoundError, "there is no message #{bad}"),
    Refusal("ack nack extend", "lease", ("7", 1.5, True, [1], 1 << 70, 0)),
    Refusal("nack", "delay_s", SECONDS),
    Refusal("nack", "reason", ("", " ", [1], True)),
    Refusal("wait_receipt wait_receipt_async", "state", ("gone", None, 1, [])),
    Refusal("wait_receipt wait_receipt_async", "timeout_s", (-1, "1", True, NAN)),
    Refusal("history tail dead purge_dead requeue thread", "role", ROLES, AddressError, ""),
    Refusal("prune", "older_than_s", (None, *SECONDS, 1e12)),
    Refusal("tail", "from_id", (-1, 1 << 43, "1", None, True, 1.5, 10**20)),
    Refusal("listen subscribe", "ack", ("", "Manual", "prefetch", None, True, [])),
    Refusal("listen subscribe", "lease_s", LEASES),
    Refusal("listen subscribe tail", "timeout_s", (-1, "1", NAN, True)),
    Refusal("listen subscribe", "max_per_poll", (0, -5, 10_001, 1.5, True)),
    Refusal("listen subscribe tail", "poll_interval_s", (0, -1, 3601, "1", NAN)),
]  # fmt: skip
# These methods treat null as a missing parameter.
DEFAULTED = {("inbox", "max"), ("wait_receipt", "state"), ("wait_receipt_async", "state")}
LOOPS = ("listen", "tail")
NAMES = {"msg": "id"}  # names of parameters over the socket
KINDS = {InputError: {"invalid_params"}, AddressError: {"invalid_params", "address"}, BodyError: {"body"},
         MessageNotFoundError: {"message_not_found"}}  # fmt: skip


def is_json(value: Any) -> bool:
    try:
        return bool(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return False


def cases(takes: Callable[[str, str, Any], bool]) -> list[Any]:
    """Return a case for each value and parameter of each method that this kind of client has."""
    return [
        pytest.param(method, refusal, bad, id=f"{method}-{refusal.parameter}-{bad!r:.20}")
        for refusal in REFUSALS
        for method in refusal.methods.split()
        for bad in refusal.values
        if takes(method, refusal.parameter, bad)
    ]


def has_client(method: str, parameter: str, bad: Any) -> bool:
    return hasattr(Client, method) and not (bad is None and (method, parameter) in DEFAULTED)


def has_lines(method: str, parameter: str, bad: Any) -> bool:
    fields = METHODS[method].params.model_fields if method in METHODS else {}
    # The client's own loops prefetch.
    return parameter in fields and is_json(bad) and bad != "prefetch" and has_client(method, parameter, bad)


def call(bus: Any, method: str, arguments: dict[str, Any]) -> Any:
    """Call a method until it returns, or a loop until it waits."""
    if method == "send_many":
        return bus.send_many([arguments])
    came = getattr(bus, method)(**arguments)
    if method in LOOPS:
        return list(came)
    if method == "subscribe":
        came = anext(came)
    return asyncio.run(came) if inspect.isawaitable(came) else came


def check_words(said: str, refusal: Refusal, bad: Any, *others: str) -> None:
    """Assert that an error names the parameter with its value, with the value as a text, or has the text `said`."""
    if refusal.said is not None:
        assert refusal.said.format(bad=bad) in said
    else:
        shown = [f"{refusal.parameter} {text!r}"[:40] for text in (bad, str(bad))]
        assert any(words in said for words in (*shown, *others)), said
    assert "\n" not in said


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHere]:
    one = ServedHere(str(tmp_path_factory.mktemp("refusals") / "bus.db"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def bus(served: ServedHere) -> Iterator[BusClient]:
    with BusClient.at(ME, served.db) as client:
        client.send(ME, "job")
        yield client


@pytest.fixture(scope="module")
def remote(served: ServedHere, bus: BusClient) -> Iterator[Client]:
    with Client(served.path, ME) as client:
        yield client


@pytest.fixture(scope="module")
def line(served: ServedHere, bus: BusClient) -> Iterator[Line]:
    with served.connect() as connection:
        connection.ask("hello", [ME])
        yield connection


@pytest.fixture(autouse=True)
def unchanged(bus: BusClient) -> Iterator[None]:
    """Assert that no message was sent, claimed or finished, and that no loop waits."""

    def state() -> Any:
        return bus.last_id(), bus.receipts(1), bells(bus.db_path)

    before = state()
    yield
    assert state() == before


@pytest.mark.parametrize(("method", "refusal", "bad"), cases(lambda method, parameter, bad: True))
def test_a_method_of_the_client_refuses_it(bus: BusClient, method: str, refusal: Refusal, bad: Any) -> None:
    with pytest.raises(refusal.kind) as caught:
        call(bus, method, {**GOOD[method], refusal.parameter: bad})

    assert type(caught.value) is refusal.kind
    check_words(str(caught.value), refusal, bad)


@pytest.mark.parametrize(("method", "refusal", "bad"), cases(has_client))
def test_a_method_of_the_client_of_the_socket_refuses_it(
    remote: Client, method: str, refusal: Refusal, bad: Any
) -> None:
    with pytest.raises(refusal.kind) as caught:
        call(remote, method, {**GOOD[method], refusal.parameter: bad})

    assert type(caught.value) is refusal.kind
    check_words(str(caught.value), refusal, bad, f"{refusal.parameter} an array: ", f"'{refusal.parameter}' is missing")


@pytest.mark.parametrize(("method", "refusal", "bad"), cases(has_lines))
def test_a_method_of_the_socket_refuses_it(line: Line, method: str, refusal: Refusal, bad: Any) -> None:
    good = {NAMES.get(name, name): value for name, value in GOOD[method].items()}
    good = {name: value for name, value in good.items() if name in METHODS[method].params.model_fields}

    error = line.error(method, {**good, refusal.parameter: bad})

    assert error["data"]["kind"] in KINDS[refusal.kind]
    name = refusal.parameter
    check_words(error["message"], refusal, bad, f"{name} an array: ", f"{name} {json.dumps(bad)}"[:40])
