"""The client of the socket raises the same errors as `BusClient`, and says why it cannot reach the server."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from raven import (
    AddressError,
    BindError,
    BodyError,
    BusClient,
    DeliveryError,
    InputError,
    LimitError,
    LostError,
    MessageNotFoundError,
    RavenError,
    SchemaRegistry,
    SchemaValidationError,
    UnknownAddressError,
    UnreachableError,
    WaitTimeoutError,
)
from raven_rpc import Client
from tests.rpc_server import Served
from tests.thread_call import request, wait_receipt

Serve = Callable[..., Served]
Call = Callable[[Any], Any]


class Plan(BaseModel):
    step: int


@pytest.fixture
def plans() -> Iterator[None]:
    """Register a schema for bodies of type plan."""
    SchemaRegistry.register("plan", Plan)
    yield
    SchemaRegistry.unregister("plan")


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def error_of(bus: Any, call: Call) -> Exception:
    try:
        result = call(bus)
    except Exception as error:
        return error
    raise AssertionError(f"nothing was raised, but {result!r} returned")


@pytest.fixture(scope="module")
def buses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BusClient, Client]]:
    """Make a direct client of one bus, and a client of the socket of another, each with one message."""
    folder = tmp_path_factory.mktemp("errors")
    served = Served(str(folder / "served.db"))
    try:
        with BusClient.at("boss:s", str(folder / "direct.db")) as direct, Client(served.path, "boss:s") as remote:
            for bus in (direct, remote):
                bus.send("other:s", "note")
            yield direct, remote
    finally:
        served.close()


@pytest.fixture
def both(buses: tuple[BusClient, Client]) -> Iterator[Callable[[Call], tuple[Exception, Exception]]]:
    """Make a call that must fail with both clients, and return both errors; it must send nothing."""
    before = [bus.last_id() for bus in buses]
    yield lambda call: (error_of(buses[0], call), error_of(buses[1], call))
    assert [bus.last_id() for bus in buses] == before


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda bus: bus.send("a:s", "x", {1}), BodyError, "Object of type set is not JSON serializable"),
        (lambda bus: bus.send("a:s", "x", {(1, 2): 3}), BodyError, "not tuple"),
        (lambda bus: bus.send("a:s", "x", 10**5000), BodyError, "digits"),
        (lambda bus: bus.send("a:s", "x", nested(101)), BodyError, "nests deeper than 100 levels"),
        (lambda bus: bus.send("a:s", "x", nested(990)), BodyError, "flatten it"),
        (lambda bus: bus.send("a:s", "x", nested(100_000)), BodyError, "flatten it"),
        (lambda bus: bus.send("a:s", "x", "x" * (5 << 20)), BodyError, "5,242,882 bytes as JSON"),
        (lambda bus: bus.send("*:ghost", "x"), UnknownAddressError, "no registered address matches '*:ghost'"),
        (lambda bus: bus.send_many([{"to": "a:s", "type": "x"}, {"to": "b", "type": "x"}]), AddressError, "'b' has no"),
        (lambda bus: bus.send_many([{"to": "a:s", "type": "x", "nope": 1}]), InputError, "nope"),
        (lambda bus: bus.send_many([{"to": "a:s"}]), InputError, "'type' is missing"),
        (lambda bus: bus.send_many([5]), InputError, "5 is not a dict"),
        (lambda bus: bus.send_many(5), InputError, "messages is int"),
        (lambda bus: bus.ack(1), MessageNotFoundError, "message #1 was not sent to boss:s"),
        (lambda bus: bus.ack(1, lease=5), MessageNotFoundError, "message #1 was not sent to boss:s"),
        (lambda bus: bus.reply(1, "x", colour="red"), TypeError, "colour"),
        (lambda bus: bus.wait_receipt(1, timeout_s=0), WaitTimeoutError, "was not acked within 0 s by other:s"),
        (lambda bus: bus.requeue(), InputError, "requeue needs the id of a message"),
        (lambda bus: bus.requeue(1, all=True), InputError, "requeue takes ids, or all=True, not both"),
        (lambda bus: bus.requeue(1), DeliveryError, "message #1 is not dead"),
        (lambda bus: list(bus.tail(poll_interval_s=0, timeout_s=0)), InputError, "poll_interval_s 0"),
        (lambda bus: bus.history(), InputError, "either a correlation_id or a task_id"),
        (lambda bus: bus.register("*:s"), AddressError, "'*:s' is a broadcast pattern"),
    ],
)  # fmt: skip
def test_what_is_wrong_raises_the_same_error(both: Any, call: Call, kind: type[RavenError], said: str) -> None:
    direct, remote = both(call)

    assert (type(remote), type(direct)) == (kind, kind), remote
    assert said in str(remote)
    assert said in str(direct)
    assert "\n" not in str(remote)


def test_a_body_over_the_limit_of_a_request_is_a_body_error_too(both: Any) -> None:
    direct, remote = both(lambda bus: bus.send("a:s", "x", "x" * (9 << 20)))

    assert type(direct) is BodyError
    assert isinstance(remote, BodyError | LimitError)
    assert "over the limit" in str(remote)


def test_a_body_that_does_not_fit_its_local_schema_is_refused_with_its_fields(both: Any, plans: None) -> None:
    for body in ({"step": "one"}, {}, None):
        direct, remote = both(lambda bus, body=body: bus.send("a:s", "plan", body))

        assert type(direct) is type(remote) is SchemaValidationError
        assert (str(remote), remote.fields) == (str(direct), direct.fields)


def test_a_schema_checks_each_of_many_and_strict_mode_is_kept(both: Any, plans: None) -> None:
    many = [{"to": "a:s", "type": "plan", "body": {"step": 1}}, {"to": "a:s", "type": "plan", "body": {"step": "x"}}]
    direct, remote = both(lambda bus: bus.send_many(many))
    assert type(direct) is type(remote) is SchemaValidationError

    SchemaRegistry.strict_mode()
    try:
        direct, remote = both(lambda bus: bus.send("a:s", "unknown", {}))
    finally:
        SchemaRegistry.strict_mode(False)
    assert (type(remote), str(remote)) == (SchemaValidationError, str(direct))


def test_a_socket_without_a_server_is_unreachable_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    for name, why in (
        ("none.sock", "No such file"),
        ("file", "no process listens"),
        ("dead.sock", "no process listens"),
    ):
        bus = Client(str(tmp_path / name), "boss:s", connect_timeout_s=0)
        calls = [bus.last_id, lambda bus=bus: bus.send("a:s", "x"), lambda bus=bus: next(bus.listen())]
        calls += [lambda bus=bus: next(bus.tail()), lambda bus=bus: asyncio.run(anext(bus.subscribe()))]
        for mode in ("blocking", "async"):
            calls += [partial(request, bus, mode, "a:s", "add"), partial(wait_receipt, bus, mode, 1)]
        for call in calls:
            with pytest.raises(UnreachableError, match=f"{name}: {why}.*; start `raven serve`") as caught:
                call()
            assert caught.value.retryable


def test_a_path_that_is_too_long_for_a_socket_is_said_to_be(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 120))
    bus = Client(path, "boss:s")

    for call in (bus.last_id, lambda: next(bus.listen()), lambda: asyncio.run(anext(bus.subscribe()))):
        with pytest.raises(BindError, match=rf"has {len(os.fsencode(path))} bytes, but the system takes at most"):
            call()


def test_a_method_that_is_not_there_is_a_mistake_of_the_caller(serve: Serve) -> None:
    with Client(serve().path) as bus:
        with pytest.raises(InputError, match=r"there is no method 'fly': ask rpc\.discover"):
            bus.call("fly")
        assert bus.call("ping", []) == "pong"


def test_a_client_without_an_address_has_no_mail(serve: Serve) -> None:
    with Client(serve().path) as bus:
        for call in (bus.inbox, lambda: next(bus.listen()), lambda: asyncio.run(anext(bus.subscribe()))):
            with pytest.raises(InputError, match="'role' is missing"):
                call()
        with pytest.raises(InputError, match="'from' is missing"):
            bus.send("a:s", "x")
        with pytest.raises(InputError, match="ack 'none' is not known"):
            next(bus.listen(ack="none"))  # type: ignore[arg-type]


def test_a_server_that_stops_reading_within_a_request_leaves_it_unknown_whether_it_was_done(tmp_path: Path) -> None:
    path = str(tmp_path / "silent.sock")
    with socket.socket(socket.AF_UNIX) as listening, Client(path, "boss:s", timeout_s=0.2) as client:
        listening.bind(path)
        listening.listen()

        with pytest.raises(LostError, match=r"no answer to send came from .* it may have been done"):
            client.send("worker:s", "note", "x" * 3_000_000)
