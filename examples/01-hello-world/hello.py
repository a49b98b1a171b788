"""Hello, world: two addresses in one process, and one message there and back."""

from __future__ import annotations

import os
import sys
import tempfile

from raven import BusClient


def main() -> None:
    db_path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(tempfile.mkdtemp(prefix="raven-hello-"), "bus.db")

    # A client creates the file and registers its address; no server is needed.
    with (
        BusClient(session_id="hello", role="alice", db_path=db_path) as alice,
        BusClient(session_id="hello", role="bob", db_path=db_path) as bob,
    ):
        question = alice.send(to=bob.address, type="question", body={"text": "Hello, world?"})
        print(f"alice sent #{question.id} to {question.to}; it is {question.state}")

        for msg in bob.inbox():
            print(f"bob   read #{msg.id} from {msg.sender}: {msg.body['text']}")
            bob.send(to=msg.sender, type="answer", body={"text": msg.body["text"].replace("?", "!")}, reply_to=msg.id)
            bob.ack(msg.id)

        for msg in alice.inbox():
            print(f"alice read #{msg.id}, the answer to #{msg.reply_to}: {msg.body['text']}")
            alice.ack(msg.id)

        print(f"now #{question.id} is {alice.read(question.id).state}, and both inboxes are empty:", end=" ")
        print(alice.inbox(), bob.inbox())


if __name__ == "__main__":
    main()
