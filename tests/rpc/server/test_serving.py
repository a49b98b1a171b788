"""The helper answers over its socket what the bus would."""

from __future__ import annotations

from collections.abc import Callable

from raven import BusClient
from tests.serving import Served

Serve = Callable[..., Served]
Connect = Callable[..., BusClient]


def test_a_message_sent_over_the_socket_is_in_the_inbox_of_a_direct_client(serve: Serve, connect: Connect) -> None:
    sent = serve().ask("send", {"from": "boss:s", "to": "worker:s", "type": "note", "body": {"n": 1}})

    (message,) = connect("worker:s").inbox()
    assert (message.id, message.sender, message.body) == (sent["id"], "boss:s", {"n": 1})


def test_a_direct_send_is_pushed_to_a_subscriber_on_the_socket(serve: Serve, connect: Connect) -> None:
    with serve().connect() as line:
        number = line.ask("subscribe", {"role": "worker:s"})["subscription"]
        connect("boss:s").send("worker:s", "note", "hello")

        push = line.push()
        assert (push["method"], push["subscription"], push["message"]["body"]) == ("message", number, "hello")
