"""Posts: the methods that put messages on the bus."""

from __future__ import annotations

from typing import Any

from raven import Message, Question
from raven_rpc.methods import params
from raven_rpc.methods.caller import Caller
from raven_rpc.methods.receive import as_messages
from raven_rpc.methods.visibility import visible
from raven_rpc.server.waits import AnswerWait
from raven_rpc.server.worker import Work


def send(caller: Caller, given: params.Send) -> Work:
    """Send one message; when the answer comes it is committed, and whoever waits for it was woken."""
    bus = caller.client("from", given.from_)
    draft = bus.draft(**given.given())
    return Work("write", lambda: bus.post([draft])[0], Message.as_dict)


def send_many(caller: Caller, given: params.SendMany) -> Work:
    """Send messages in one transaction: all of them or none."""
    bus = caller.client("from", given.from_)
    drafts = [bus.draft(**content.given()) for content in given.contents()]
    return Work("write", lambda: bus.post(drafts), as_messages, weight=len(drafts))


def reply(caller: Caller, given: params.Reply) -> Work:
    """Answer a message: to where its sender waits for the answer, else to the sender."""
    bus, server = caller.client("from", given.from_), caller.server

    def post() -> Message:
        asked = visible(server.writer_bus, given.id, None, caller.bound)
        return bus.post([bus.draft_reply(asked, **given.given())])[0]

    return Work("write", post, Message.as_dict)


def request(caller: Caller, given: params.Request) -> Work:
    """Send a message, wait for the answer that `reply` gives to it, and return that, acked; others overtake it."""
    bus, server, connection = caller.client("from", given.from_), caller.server, caller.connection
    question = Question(bus, timeout_s=given.timeout_s, **given.given())
    connection.waits.admit()

    def wait(sent: Any) -> AnswerWait:
        return AnswerWait(server, connection, question, given.timeout_s)

    return Work("write", question.post, Message.as_dict, wait=wait)
