"""A subscription that has ended before it began to push leaves nothing behind that harms other connections."""

from __future__ import annotations

from collections.abc import Callable

from tests.serving import Served

Serve = Callable[..., Served]
SUBSCRIBE = '{"jsonrpc":"2.0","method":"subscribe","params":["nobody:s"],"id":1}\n'
UNSUBSCRIBE = '{"jsonrpc":"2.0","method":"unsubscribe","params":[1],"id":2}\n'
# The descriptor of a doorbell is soon that of another connection; often enough for it to happen.
ROUNDS = 60


def test_an_unsubscribe_that_follows_at_once_makes_no_other_connection_deaf(serve: Serve) -> None:
    served = serve()

    for _ in range(ROUNDS):
        with served.connect() as line:
            line.write((SUBSCRIBE + UNSUBSCRIBE).encode())
            line.half_close()
            assert [line.read()["id"], line.read()["id"], line.read()] == [1, 2, None]
        assert served.ask("send", ["a:s", "b:s", "note"])["sender"] == "a:s"


def test_a_subscriber_that_leaves_at_once_makes_no_other_connection_deaf(serve: Serve) -> None:
    served = serve()

    for _ in range(ROUNDS):
        with served.connect() as line:
            line.write(SUBSCRIBE.encode())
        assert served.ask("send", ["a:s", "b:s", "note"])["sender"] == "a:s"
