"""Unauthorized: clients without the right to a request, through a bound socket or as another user."""

from __future__ import annotations

import json
import os
import random
import sys
from typing import Any

from raven_rpc.methods.table import METHODS
from scripts.harness.served import Served
from scripts.stress.socket.control_client import READER, SECRET, SENDER
from scripts.stress.socket.exchange import exchange
from scripts.stress.socket.garbage import request
from scripts.stress.trial import Round

GUEST = "guest:sandbox"
# The parameters that name an address; the guest's own address is among the values.
_NAMES = ("from", "role", "as", "to")
_NOBODY_UID = 65534


def through_a_bound_socket(round: Round, server: Served) -> None:
    """Request everything in the name of the control clients and of others, through a socket bound to a guest."""
    identities = {peer["address"] for peer in server.ask("peers")["peers"]}
    with Served(server.db, f"{server.path}.bound", "--as", GUEST) as bound:
        last = server.ask("last_id")["id"]
        for _ in range(40):
            lines = [json.dumps(_request(round.random, last)) for _ in range(5)]
            if round.random.random() < 0.3:
                lines = ["[" + ",".join(lines) + "]"]
            output = exchange(bound.path, "\n".join(lines).encode())
            round.count("requests through a bound socket", 5)
            round.expect(SECRET.encode() not in output, f"a guest should see no messages of others: {lines}")
        code = bound.stop()
        round.expect(code == 0, f"a bound server should end with 0, and ended with {code}")
    _check_identity(round, server, last, identities)


def _check_identity(round: Round, server: Served, last: int, identities: set[str]) -> None:
    """Demand that the guest has sent only as itself, and has registered no other address."""
    last_now = server.ask("last_id")["id"]
    for id in range(last + 1, last_now + 1):
        sender = server.ask("read", {"id": id})["sender"]
        # The control sender goes on; its reader detects messages that it has not sent.
        round.expect(sender in (SENDER, GUEST), f"a guest should send only as itself, and {sender} has sent #{id}")
    added = {peer["address"] for peer in server.ask("peers")["peers"]} - identities
    others = {address for address in added if not address.startswith((f"{GUEST}", "guest+"))}
    others -= _addressed(server, last, last_now)
    round.expect(not others, f"a guest should register no other address, and there are {others}")


def _addressed(server: Served, last: int, last_now: int) -> set[str]:
    """Return the addresses to which the guest has sent: it may, and `peers` lists all addresses that have mail."""
    addresses: set[str] = set()
    for id in range(last + 1, last_now + 1):
        addresses.update(server.ask("recipients", {"id": id})["recipients"])
    return addresses


def _request(rng: random.Random, last: int) -> Any:
    """Return a request with the control clients' addresses, or a random one."""
    base = request(rng)
    if rng.random() < 0.2:
        return base
    method = rng.choice(sorted(set(METHODS) - {"request", "wait_receipt"}))
    fields = [field.alias or name for name, field in METHODS[method].params.model_fields.items()]
    id = rng.randint(max(1, last - 50), last + 5)
    values: dict[str, Any] = {"id": id, "ids": [id], "type": "number", "body": "forged", "from_id": 1, "max": 50}
    values |= {"messages": [{"to": READER, "type": "number"}], "follow": False, "session": "control", "all": False}
    values |= {"older_than_s": 0, "correlation_id": "c", "lease": rng.randint(1, 9), "method": "send", "peek": True}
    values |= {"calls": [{"method": "send", "params": [SENDER, READER, "number"]}], "subscription": 1}
    params = {name: values[name] for name in fields if name in values and name not in ("all", "lease")}
    for name in _NAMES:
        if name in fields:
            params[name] = rng.choice((SENDER, READER, READER, GUEST, [READER], "*:control", "*:*"))
    if method == "send" and params.get("from") == GUEST:
        params["to"] = "unread:sandbox"  # the guest may write to the control reader, which would disturb it
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}


def as_another_user(round: Round, server: Served) -> None:
    """Connect as another user, though the mode of the socket allows it; only root can run this."""
    if os.geteuid() != 0:
        print("socket: only root can become another user: this attack is skipped", file=sys.stderr)
        return
    mode = os.stat(server.path).st_mode & 0o777
    round.expect(mode == 0o600, f"the socket should have mode 600, and has {mode:o}")
    parent = os.path.dirname(server.path)
    folder, before = os.open(parent, os.O_RDONLY), os.stat(parent).st_mode
    try:
        os.chmod(parent, 0o711)
        round.expect(_ping_as_nobody(folder, server.path) == b"EACCES", "another user should not be able to connect")
        os.chmod(server.path, 0o666)
        answer = _ping_as_nobody(folder, server.path)
        is_refused = b'"forbidden"' in answer and b"pong" not in answer
        round.expect(is_refused, f"another user should be refused, and got {answer!r}")
    finally:
        os.chmod(server.path, 0o600)
        os.chmod(parent, before & 0o777)
        os.close(folder)
    round.count("connects by another user", 2)


def _ping_as_nobody(folder: int, path: str) -> bytes:
    """Ping as another user, from inside the folder, and return the response."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        result = b"failed"
        try:
            os.fchdir(folder)
            os.setgroups([])
            os.setgid(_NOBODY_UID)
            os.setuid(_NOBODY_UID)
            result = exchange(os.path.basename(path), b'{"jsonrpc":"2.0","method":"ping","id":1}\n')
        except PermissionError:
            result = b"EACCES"
        finally:
            os.write(writer, result)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        result = pipe.read()
    os.waitpid(child, 0)
    return result
