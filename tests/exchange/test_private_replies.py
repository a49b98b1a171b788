"""Private replies: a reply goes to the host whose question asked for it, and to no other."""

from __future__ import annotations

from threading import Thread

from raven import Message
from tests.exchange.carrier import Carrier, Host

WORKER = "worker:s"


def ask(host: Host, reply_address: str) -> None:
    """Send a question for whose reply no call waits."""
    sent = host.at("boss:s").send(WORKER, "ask", "?")
    host.sql("UPDATE messages SET reply_address = ?, expires_at = ? WHERE id = ?", reply_address, 1 << 60, sent.id)


def test_a_request_crosses_and_its_reply_comes_back_to_the_private_address(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    replies: list[Message] = []
    asking = Thread(target=lambda: replies.append(alpha.at("boss:s").request(WORKER, "ask", "?", timeout_s=30)))
    asking.start()
    while not alpha.exchange.hand_over("beta", [WORKER]):
        asking.join(0.005)
    carrier.settle()
    (question,) = beta.at(WORKER).claim()

    beta.at(WORKER).reply(question, "answer", "!")
    (leaving,) = beta.exchange.outgoing()
    beta.exchange.hand_over("alpha", [leaving.address])
    carrier.settle()
    asking.join(30)

    assert leaving.address == question.reply_address
    assert leaving.question_host == "alpha"
    assert [(reply.body, reply.sender) for reply in replies] == [("!", WORKER)]


def test_replies_to_a_question_of_this_host_stay_though_another_host_asks_for_its_own_at_the_same_address(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    address = f"boss+{'0' * 16}:s"
    for host in (alpha, beta):
        ask(host, address)
    beta.exchange.hand_over("alpha", [WORKER])
    carrier.settle()
    own, foreign = alpha.at(WORKER).claim(2)
    assert own.reply_address == foreign.reply_address == address

    alpha.at(WORKER).reply(foreign, "answer", "!")
    assert [one.question_host for one in alpha.exchange.outgoing()] == ["beta"]
    alpha.at(WORKER).reply(own, "answer", "!")
    assert [(one.ready, one.question_host) for one in alpha.exchange.outgoing()] == [(2, None)]


def test_a_host_with_the_name_of_one_that_has_asked_here_is_not_told_to_answer_itself(
    carrier: Carrier, alpha: Host, beta: Host
) -> None:
    ask(alpha, f"boss+{'0' * 16}:s")
    alpha.exchange.hand_over("beta", [WORKER])
    carrier.settle()
    [question] = beta.at(WORKER).claim()
    beta.at(WORKER).reply(question, "answer", "!")
    assert [one.question_host for one in beta.exchange.outgoing()] == ["alpha"]

    beta.name = "alpha"
    beta.restart()

    assert [one.question_host for one in beta.exchange.outgoing()] == [None]
