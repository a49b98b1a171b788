"""A bound socket: no method lets its clients act as another address or see the mail of another address."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from raven import BusClient
from raven_rpc.methods.table import METHODS
from tests.rpc_server import Line, Served
from tests.support import Foreign

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]

ME = "worker:s"
ALSO_ME = "helper:s"
BOUND = [("--as", ME), ("--as", ME, "--as", ALSO_ME)]
NEVER = 999_999
NOTE = {"to": "boss:s", "type": "note"}
ANSWER = {"from": ME, "type": "note"}


class Rule(NamedTuple):
    """Parameters of a method that a client bound to ME may use, and refused ones; `hides` says that it takes an id.

    `needs` are the parameters that a call must have besides an id.
    """

    allowed: list[Any]
    refused: list[Any]
    hides: bool = False
    needs: Mapping[str, Any] = MappingProxyType({})


# The use of each method by a bound client; a new method needs its row.
RULES = {
    "send": Rule(
        [{"from": ME, **NOTE}, [ME, "boss:s", "note"]],
        [{"from": "boss:s", **NOTE}, {"from": "Worker:s", **NOTE}, ["boss:s", ME, "note"]],
    ),
    "send_many": Rule(
        [{"from": ME, "messages": [NOTE]}],
        [{"from": "boss:s", "messages": [NOTE, NOTE]}, {"from": "boss:s", "messages": []}],
    ),
    "inbox": Rule([{"role": ME}, {"role": ME, "peek": True}], [{"role": "boss:s"}, {"role": "boss:s", "peek": True}]),
    "claim": Rule([{"role": ME}], [{"role": "boss:s"}, ["other:s", 5]]),
    "read": Rule([{"id": 1}, {"id": 1, "role": ME}], [{"id": 1, "role": "boss:s"}], hides=True),
    "recipients": Rule([{"id": 1}], [], hides=True),
    "ack": Rule([{"id": 1, "role": ME}], [{"id": 1, "role": "boss:s"}, {"id": 3, "role": "other:s"}], hides=True),
    "nack": Rule([{"id": 1, "role": ME}], [{"id": 1, "role": "boss:s"}, {"id": 3, "role": "other:s"}], hides=True),
    "extend": Rule([], [{"id": 1, "role": "boss:s"}, {"id": 3, "role": "other:s"}], hides=True),
    "reply": Rule(
        [{"id": 1, **ANSWER}],
        [{"id": 1, **ANSWER, "from": "boss:s"}, {"id": 3, **ANSWER, "from": "other:s"}],
        hides=True,
        needs=ANSWER,
    ),
    "request": Rule([], [{"from": "boss:s", **NOTE}, ["other:s", ME, "note"]]),
    "receipts": Rule([{"id": 1}, {"id": 2}], [], hides=True),
    "wait_receipt": Rule([{"id": 1, "state": "sent"}], [], hides=True),
    "transaction": Rule(
        [{"calls": [{"method": "send", "params": {"from": ME, **NOTE}}]}],
        [
            {"calls": [{"method": "send", "params": {"from": sender, **NOTE}} for sender in (ME, "boss:s")]},
            {"calls": [{"method": "ack", "params": {"id": 3, "role": "other:s"}}]},
            {"calls": [{"method": "claim", "params": {"role": "boss:s"}}]},
        ],
    ),
    "history": Rule(
        [{"correlation_id": "c"}, {"task_id": "t", "role": ME}],
        [{"correlation_id": "c", "role": "boss:s"}, {"task_id": "t", "role": "boss:s"}],
    ),
    "thread": Rule([{"id": 1}, {"id": 1, "role": ME}], [{"id": 1, "role": "boss:s"}], hides=True),
    "dead": Rule([{}, {"role": ME}], [{"role": "boss:s"}, {"role": [ME, "other:s"]}]),
    "requeue": Rule([{"all": True, "role": ME}], [{"all": True, "role": "boss:s"}, {"ids": [3], "role": "other:s"}]),
    "purge_dead": Rule([{"role": ME}], [{"role": "boss:s"}]),
    "prune": Rule([], [{"older_than_s": 0}, {"older_than_s": 0, "dry_run": True}]),
    "forget": Rule([{"role": ME}], [{"role": "boss:s"}, {"role": [ME, "other:s"]}]),
    "subscribe": Rule([{"role": ME}], [{"role": "boss:s"}, {"role": "boss:s", "ack": "manual"}]),
    "held": Rule([], []),
    "unsubscribe": Rule([], []),
    "tail": Rule([{}, {"role": ME}], [{"role": "boss:s"}, {"from_id": 1, "role": "other:s", "follow": False}]),
    "peers": Rule([{}, {"session": "s"}], []),
    "register": Rule([{"role": ME}, {"role": [ME]}], [{"role": "new:s"}, {"role": [ME, "new:s"]}]),
    "last_id": Rule([{}], []),
    "hello": Rule([{}, {"as": ME}], [{"as": "boss:s"}]),
    "ping": Rule([{}], []),
    "stats": Rule([{}], []),
    "rpc.discover": Rule([{}], []),
}


@pytest.fixture
def bus(connect: Connect) -> BusClient:
    """Fill a bus: #1 is to ME, #2 from ME, #3 neither, #4 a broadcast to all."""
    boss, worker = connect("boss:s"), connect(ME)
    connect("other:s")
    talk = {"correlation_id": "c", "task_id": "t"}
    boss.send(ME, "note", "to me", **talk)
    worker.send("boss:s", "note", "from me", **talk)
    boss.send("other:s", "note", "a secret", **talk)
    boss.send("*:s", "note", "to all", **talk)
    return boss


@pytest.fixture(params=BOUND, ids=["one", "two"])
def line(serve: Serve, bus: BusClient, request: pytest.FixtureRequest) -> Iterator[Line]:
    with serve(*request.param).connect() as line:
        yield line


@pytest.fixture
def only(serve: Serve, bus: BusClient) -> Iterator[Line]:
    """Connect to a socket that is bound to ME alone."""
    with serve("--as", ME).connect() as line:
        yield line


@pytest.fixture
def snapshot(foreign: Foreign) -> Callable[[], Any]:
    """Read every value that a forbidden request could change."""
    return lambda: [
        foreign.execute("SELECT id FROM messages ORDER BY id"),
        foreign.execute("SELECT message_id, recipient, state, lease FROM deliveries ORDER BY 1, 2"),
        foreign.execute("SELECT address FROM identities ORDER BY 1"),
    ]


def bodies(messages: list[Any]) -> list[Any]:
    return [message["body"] for message in messages]


def tail(line: Line, **params: Any) -> list[Any]:
    """Return the bodies of the log as this client sees it."""
    line.ask("tail", {"follow": False, **params})
    bodies = []
    while (push := line.push())["method"] == "message":
        bodies.append(push["message"]["body"])
    return bodies


# Every method


@pytest.mark.parametrize("method", METHODS)
def test_no_method_lets_a_bound_client_act_as_another(line: Line, method: str, snapshot: Callable[[], Any]) -> None:
    rule, before = RULES[method], snapshot()

    errors = [line.error(method, params) for params in rule.refused]

    data = [{**error["data"], "call": None} for error in errors]  # a transaction says which call it was
    assert data == [{"kind": "forbidden", "retryable": False, "call": None}] * len(errors)
    assert snapshot() == before
    for params in rule.allowed:
        line.ask(method, params)


@pytest.mark.parametrize("method", [name for name in METHODS if RULES[name].hides])
def test_what_is_hidden_is_as_if_it_had_never_been(line: Line, method: str, snapshot: Callable[[], Any]) -> None:
    before = snapshot()
    needs = RULES[method].needs
    roles = [{}, {"role": ME}] if "role" in METHODS[method].params.model_fields else [{}]

    hidden = [line.error(method, {"id": 3, **needs, **role}) for role in roles]
    never = [line.error(method, {"id": NEVER, **needs, **role}) for role in roles]

    assert {error["data"]["kind"] for error in hidden} == {"message_not_found"}
    assert json.dumps(hidden) == json.dumps(never).replace(str(NEVER), "3")
    assert snapshot() == before


def test_a_method_that_takes_an_id_or_an_address_has_a_rule_for_it() -> None:
    for name, method in METHODS.items():
        fields = {field.alias or key for key, field in method.params.model_fields.items()}
        assert not fields & {"from", "role", "as"} or RULES[name].refused, name
        assert "id" not in fields or RULES[name].hides, name
    assert RULES.keys() == METHODS.keys()


# Parts that are left out


def test_a_client_of_one_address_need_not_name_it(only: Line) -> None:
    assert only.ask("hello")["as"] == ME
    assert only.ask("send", NOTE)["sender"] == ME
    assert bodies(only.ask("inbox")["messages"]) == ["to me", "to all"]
    assert only.ask("read", {"id": 1})["recipient"] == ME
    assert only.ask("ack", {"id": 1}) == {"acked": [1]}
    assert bodies(only.ask("inbox")["messages"]) == ["to all"]


def test_a_client_of_two_addresses_says_which(serve: Serve, bus: BusClient) -> None:
    with serve(*BOUND[1]).connect() as line:
        assert line.ask("hello") | {"version": ""} == {"as": None, "bound": [ME, ALSO_ME], "version": ""}
        assert "'from' is missing" in line.error("send", NOTE)["message"]
        assert "'role' is missing" in line.error("inbox")["message"]

        line.ask("hello", {"as": ALSO_ME})

        assert line.ask("send", NOTE)["sender"] == ALSO_ME
        assert line.ask("send", {"from": ME, **NOTE})["sender"] == ME
        assert line.error("hello", {"as": "boss:s"})["data"]["kind"] == "forbidden"
        assert line.ask("hello")["as"] == ALSO_ME


def test_each_of_two_addresses_sees_its_own_inbox(serve: Serve, bus: BusClient) -> None:
    bus.send(ALSO_ME, "note", "to the server")
    with serve(*BOUND[1]).connect() as line:
        assert bodies(line.ask("inbox", {"role": ALSO_ME})["messages"]) == ["to the server"]
        assert tail(line) == ["to me", "from me", "to all", "to the server"]
        assert tail(line, role=ALSO_ME) == ["to the server"]
        assert line.ask("ack", {"id": 5}) == {"acked": [5]}


# Parts that are seen


def test_the_log_holds_only_what_is_from_or_to_the_own_addresses(line: Line) -> None:
    assert tail(line) == ["to me", "from me", "to all"]
    assert tail(line, role=ME) == ["to me", "from me", "to all"]


@pytest.mark.parametrize("key", [{"correlation_id": "c"}, {"task_id": "t"}])
def test_a_conversation_holds_only_what_is_from_or_to_the_own_addresses(line: Line, key: dict[str, str]) -> None:
    assert bodies(line.ask("history", key)["messages"]) == ["to me", "from me", "to all"]


def test_what_comes_later_is_pushed_only_where_it_is_from_or_to_the_own_address(only: Line, bus: BusClient) -> None:
    log = only.ask("tail", {"from_id": 5})["subscription"]
    mail = only.ask("subscribe", {"ack": "manual"})["subscription"]

    bus.send("other:s", "note", "another secret")
    bus.send(ME, "note", "last")

    seen: dict[int, list[Any]] = {log: [], mail: []}
    while "last" not in seen[log] or "last" not in seen[mail]:
        push = only.push()
        seen[push["subscription"]].append(push["message"]["body"])
    assert seen == {log: ["last"], mail: ["to me", "to all", "last"]}


def test_a_reply_to_a_hidden_message_fails_as_for_one_that_does_not_exist(only: Line) -> None:
    answers = []
    for number in (3, NEVER):
        only.tell("send", {**NOTE, "reply_to": number}, id=7)
        answers.append(only.answer())

    assert ["result" in answer for answer in answers] in ([True, True], [False, False])


def test_the_dedup_key_of_another_sender_does_not_show_its_message(only: Line, bus: BusClient) -> None:
    secret = bus.send("other:s", "note", "a secret", dedup_key="k")

    sent = only.ask("send", {**NOTE, "body": "mine", "dedup_key": "k"})

    assert sent["id"] != secret.id
    assert sent["body"] == "mine"


def test_a_notification_from_another_sender_stores_nothing(line: Line, snapshot: Callable[[], Any]) -> None:
    before = snapshot()

    line.tell("send", {"from": "boss:s", **NOTE})
    line.tell("register", {"role": "new:s"})
    line.tell("ack", {"id": 3, "role": "other:s"})

    assert line.ask("last_id") == {"id": 4}
    assert snapshot() == before


# Other ways in than plain requests


def test_each_request_of_a_batch_is_held_to_the_rule(only: Line, bus: BusClient) -> None:
    asked = [
        ("send", {"from": "boss:s", **NOTE}),
        ("send", {"from": ME, **NOTE}),
        ("hello", {"as": "boss:s"}),
        ("send", NOTE),
    ]
    only.write(
        json.dumps(
            [{"jsonrpc": "2.0", "id": id, "method": name, "params": params} for id, (name, params) in enumerate(asked)]
        )
    )

    answers = sorted(only.answer(), key=lambda answer: answer["id"])
    assert ["error" in answer for answer in answers] == [True, False, True, False]
    assert [answers[1]["result"]["sender"], answers[3]["result"]["sender"]] == [ME, ME]
    assert bus.last_id() == 6


def test_a_body_that_names_a_sender_is_only_a_body(only: Line) -> None:
    sent = only.ask("send", {**NOTE, "body": {"from": "boss:s", "sender": "boss:s"}})

    assert (sent["sender"], sent["body"]["from"]) == (ME, "boss:s")


def test_no_other_parameter_names_a_sender(only: Line, bus: BusClient) -> None:
    errors = [only.error("send", {name: "boss:s", **NOTE}) for name in ("from_", "sender", "as", "role")]
    for name in ("from", "from_", "sender"):
        errors.append(only.error("send_many", {"messages": [{name: "boss:s", **NOTE}]}))

    assert {error["data"]["kind"] for error in errors} == {"invalid_params"}
    assert bus.last_id() == 4
