"""Bad frames: whatever another host says, it raises no error, stops no later frame and changes no other host's mail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from raven.exchange.values import Batch, Confirmation, Frame, Incoming
from raven.model.limits import MAX_ID
from tests.exchange.carrier import Carrier, Host, bodies, envelope, receipt

WORKER = "worker:s"
LONE = "\ud800"
GOOD: dict[str, Any] = {
    "o": [1, 5], "to": [[WORKER, 5, 0, None]], "s": "boss:s", "t": WORKER, "y": "job", "b": '"x"', "u": 1, "at": 5,
}  # fmt: skip


def incoming(*contents: Any, epoch: Any = 7) -> Incoming:
    """Return an envelope of frames from the first number on."""
    frames = [{"n": number, "k": number + 100, **content} for number, content in enumerate(contents, 1)]
    return Incoming(epoch, 0, frames)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"s": None}, "its sender is missing"),
        ({"s": "*:s"}, "its sender '*:s' is not an address"),
        ({"s": 5}, "its sender 5 is not an address"),
        ({"s": f"{LONE}:s"}, "is not an address"),
        ({"t": ""}, "its to '' is not an address or a list of addresses"),
        ({"t": "nobody"}, "its to 'nobody' is not an address"),
        ({"y": " "}, "its type ' ' is not a text of 1 to 1024 characters"),
        ({"y": LONE}, "its type"),
        ({"b": "{"}, "its body '{' is not JSON text"),
        ({"b": 5}, "its body 5 is not JSON text"),
        ({"b": f'"{LONE}"'}, "is not JSON text"),
        ({"b": "[" * 100_000}, "is not JSON text"),
        ({"b": json.dumps("x" * (4 << 20))}, "its body has 4,194,306 bytes, over the limit of 4,194,304"),
        ({"u": 3}, "its urgency 3 is not an urgency"),
        ({"u": True}, "its urgency True is not an urgency"),
        ({"g": '["a", 1]'}, "is not a JSON array of texts"),
        ({"c": ""}, "its correlation_id '' is not a text"),
        ({"d": "x" * 1025}, "is not a text of 1 to 1024 characters"),
        ({"p": "boss:s"}, "its reply_address 'boss:s' is not a private reply address"),
        ({"r": ["alpha"]}, "that it replies to is no origin"),
        ({"at": 1e300}, "its created_at 1e+300 is not a time"),
        ({"x": 1 << 70}, "is not a time"),
        ({"to": [[WORKER, 0, 0, None]]}, "is malformed"),
        ({"to": [[WORKER, 5, 0, "soon"]]}, "is malformed"),
        ({"to": [[WORKER]]}, "is malformed"),
        ({"to": [[WORKER, 5, 0, None]] * ((1 << 20) + 1)}, "it has 1,048,577 recipients"),
        ({"to": [[WORKER, 5, 0, None], ["*:s", 5, 0, None]]}, "its recipient '*:s' is no address"),
    ],
)
def test_a_malformed_message_is_told_dead_with_the_reason_and_the_next_is_taken(
    carrier: Carrier, alpha: Host, beta: Host, changes: dict[str, Any], why: str
) -> None:
    alpha.at("boss:s").send(WORKER, "job")
    alpha.exchange.hand_over("beta", [WORKER])
    (frame,) = carrier.frames(alpha, beta).frames
    sent = json.loads(frame.text)
    batch = carrier.frames(alpha, beta)

    envelope = Incoming(batch.epoch, 0, [{**sent, **changes}, {"n": 2, "k": 3, **GOOD}])
    taken = beta.exchange.take_in("alpha", [envelope])

    assert (taken.admitted, taken.refused, taken.confirmation.number) == (1, 1, 2)
    carrier.bring(beta, alpha)
    shown = receipt(alpha, 1)
    assert shown.state == "dead"
    assert shown.reason is not None
    assert shown.reason.startswith("refused by beta: ")
    assert why in shown.reason
    assert bodies(beta.at(WORKER)) == ["x"]


@pytest.mark.parametrize(
    "content",
    [
        {"o": 5},
        {"o": [0, 5]},
        {"o": [MAX_ID + 1, 5]},
        {"o": [True, 5]},
        {"o": [1, 5, 6]},
        {"o": [1, 5]},
        {"o": [1, 5], "to": {}},
        {"o": [1, 5], "to": [5, [], [LONE]], "s": "boss:s"},
        {"i": 5},
        {"i": [5, [], [1] * 8, [1, 5, WORKER, 5, 0, None, None, None, 1]]},
        {"i": [[1, 5, WORKER, 2, 0, None, None, LONE, 1], [1, 5, LONE, 2, 0, None, None, None, 1]]},
        {"i": [[1, 5, WORKER, 2, 1 << 65, None, None, None, 1], [1, 5, WORKER, 2, 0, -1, None, None, 1]]},
        {"w": [5, [1, 5, WORKER], [1, 5, WORKER, "x"], [1, 5, WORKER, None]]},
        {"i": [[1, 5, WORKER, 2, 1, None, None, "x" * 100_000, 1]]},
        {"l": 1},
        {"what": "a later raven says"},
        {},
    ],
)
def test_a_frame_that_says_nothing_useful_is_passed_over(carrier: Carrier, beta: Host, content: dict[str, Any]) -> None:
    taken = beta.exchange.take_in("alpha", [incoming(content, GOOD)])

    assert (taken.admitted, taken.confirmation, taken.is_behind) == (1, Confirmation(7, 2, 102), False)
    assert bodies(beta.at(WORKER)) == ["x"]


@pytest.mark.parametrize(
    "bad",
    [
        Incoming(None, 0, []),
        Incoming(0, 0, []),
        Incoming(1 << 61, 0, []),
        Incoming(True, 0, [{"n": 1, "k": 1, **GOOD}]),
        Incoming(7, None, []),
        Incoming(7, 0, "frames"),
        Incoming(7, 0, [5]),
        Incoming(7, 0, [{"n": "1", "k": 1, **GOOD}]),
        Incoming(7, 0, [{"n": 1, **GOOD}]),
        Incoming(7, 0, [{"n": 1, "k": 0, **GOOD}]),
        Incoming(7, 5, [{"n": 1, "k": 1, **GOOD}]),
        Incoming(7, 0, [{"n": 2, "k": 1, **GOOD}]),
    ],
)
def test_an_envelope_without_order_is_not_taken_and_the_next_one_is(beta: Host, bad: Incoming) -> None:
    taken = beta.exchange.take_in("alpha", [bad])
    assert (taken.is_behind, taken.admitted, taken.confirmation.number) == (True, 0, 0)

    assert beta.exchange.take_in("alpha", [bad, incoming(GOOD, epoch=8)]).admitted == 1


def test_an_envelope_of_an_earlier_epoch_is_dropped(beta: Host) -> None:
    beta.exchange.take_in("alpha", [incoming(GOOD, epoch=8)])

    taken = beta.exchange.take_in("alpha", [incoming(GOOD, {**GOOD, "o": [2, 5]})])

    assert (taken.admitted, taken.is_behind, taken.confirmation) == (0, True, Confirmation(8, 1, 101))


@pytest.mark.parametrize("options", [{"sessions": ["other-*"]}, {"accept": {"alpha": ["chief:*"]}}, {"accept": {}}])
def test_a_host_reaches_no_session_and_names_no_sender_that_is_not_open_to_it(
    carrier: Carrier, alpha: Host, options: dict[str, Any]
) -> None:
    beta = carrier.add("beta", **options)
    alpha.at("boss:s").send([WORKER, "w:other-1"], "job")
    alpha.exchange.hand_over("beta", [WORKER, "w:other-1"])
    carrier.settle()

    worker, other = alpha.at("boss:s").receipts(1)
    setting = next(iter(options))
    assert worker.state == "dead"
    assert f"see the setting {setting}" in str(worker.reason)
    assert (other.state == "dead") == ("accept" in options)
    assert len(bodies(beta.at("w:other-1"))) == ("sessions" in options)


def test_a_host_tells_no_news_of_deliveries_that_it_does_not_have(carrier: Carrier, alpha: Host, beta: Host) -> None:
    gamma = carrier.add("gamma")
    sent = alpha.at("boss:s").send(WORKER, "job")
    created_at, tag = 0, 0
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    ((created_at, tag),) = alpha.sql(
        "SELECT created_at, frame FROM messages JOIN deliveries ON message_id = messages.id"
    )
    gamma.exchange.hand_over("alpha", [WORKER])

    for state in (2, 4, 9):
        news = {"i": [[sent.id, created_at, WORKER, state, 1, None, 5, "mine", tag]]}
        alpha.exchange.take_in("gamma", [incoming(news, epoch=state)])

    assert (receipt(alpha, sent.id).state, receipt(alpha, sent.id).host) == ("sent", "beta")


def test_a_host_withdraws_no_mail_of_another(carrier: Carrier, alpha: Host, beta: Host) -> None:
    alpha.at("boss:s").send(WORKER, "job", "stays")
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    ((created_at,),) = alpha.sql("SELECT created_at FROM messages")

    beta.exchange.take_in("gamma", [incoming({"w": [[1, created_at, WORKER, None]]})])

    assert bodies(beta.at(WORKER)) == ["stays"]


@pytest.mark.parametrize(
    "said",
    [
        Confirmation(0, 0, 0),
        Confirmation(-1, 0, 0),
        Confirmation("x", 0, 0),  # type: ignore[arg-type]
        Confirmation(1 << 70, 0, 0),
        Confirmation(5, True, 0),
    ],
)
def test_a_malformed_word_on_what_is_committed_changes_nothing(
    carrier: Carrier, alpha: Host, beta: Host, said: Confirmation
) -> None:
    alpha.at("boss:s").send(WORKER, "job", 1)
    alpha.exchange.hand_over("beta", [WORKER])

    alpha.exchange.confirmed("beta", said)
    alpha.exchange.confirmed("unknown", Confirmation(5, 5, 5))

    assert alpha.exchange.flush() == set()
    carrier.settle()
    assert bodies(beta.at(WORKER)) == [1]


@pytest.mark.parametrize("beyond", ["number", "tag", "epoch"])
def test_a_word_on_frames_that_were_never_sent_confirms_nothing(
    carrier: Carrier, alpha: Host, beta: Host, beyond: str
) -> None:
    alpha.at("boss:s").send(WORKER, "job", 1)
    alpha.exchange.hand_over("beta", [WORKER])
    state = alpha.exchange.hosts()["beta"]
    said = Confirmation(state.epoch, 1, state.sent_tag)

    alpha.exchange.confirmed("beta", said._replace(**{beyond: getattr(said, beyond) + 1}))

    assert alpha.exchange.flush() == {"beta"}
    assert len(carrier.frames(alpha, beta).frames) == 1
    carrier.settle()
    assert bodies(beta.at(WORKER)) == [1]


def test_a_frame_in_a_tampered_file_stops_nothing_behind_it(carrier: Carrier, alpha: Host, beta: Host) -> None:
    alpha.at("boss:s").send_many([{"to": WORKER, "type": "job", "body": number} for number in range(3)])
    alpha.sql("UPDATE messages SET type = CAST(x'ff' AS TEXT), body = '\"\ufffd\"' WHERE id = 2")
    alpha.exchange.hand_over("beta", [WORKER])

    carrier.settle()

    assert len(bodies(beta.at(WORKER))) == 3
    assert isinstance(envelope(Batch(1, 0, [Frame(1, 2, '{"n":1,"k":2}')])), Incoming)
