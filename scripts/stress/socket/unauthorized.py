"""Strangers: who does not belong at a socket, and asks all the same: behind a bound one, or as another user."""

from __future__ import annotations

import json
import os
import random
import sys
from typing import Any

from raven_rpc.methods.table import METHODS
from scripts.harness.served import Served
from scripts.stress.socket.control_client import READER, SECRET, SENDER
from scripts.stress.socket.exchange import talk
from scripts.stress.socket.garbage import request
from scripts.stress.trial import Round

ME = "guest:sandbox"
# What each parameter that names an address is given; the guest's own stands for a slip of the check.
_NAMES = ("from", "role", "as", "to")
_NOBODY = 65534


def behind_a_bound_socket(round: Round, helper: Served) -> None:
    """Ask for everything in the name of the honest, of all and of none, through a socket bound to a guest."""
    identities = {peer["address"] for peer in helper.ask("peers")["peers"]}
    with Served(helper.db, f"{helper.path}.bound", "--as", ME) as bound:
        last = helper.ask("last_id")["id"]
        for _ in range(40):
            lines = [json.dumps(_request(round.random, last)) for _ in range(5)]
            if round.random.random() < 0.3:
                lines = ["[" + ",".join(lines) + "]"]
            found = talk(bound.path, "\n".join(lines).encode())
            round.count("requests through a bound socket", 5)
            round.expect(SECRET.encode() not in found, f"a guest should see no mail of others: {lines}")
        stats = bound.stop()
        round.expect(stats == 0, f"a bound helper should end with 0, and ended with {stats}")
    _is_nobody_else(round, helper, last, identities)


def _is_nobody_else(round: Round, helper: Served, last: int, identities: set[str]) -> None:
    """Demand that the guest has sent in no other name, and registered nobody."""
    last_now = helper.ask("last_id")["id"]
    for id in range(last + 1, last_now + 1):
        sender = helper.ask("read", {"id": id})["sender"]
        # The honest send on meanwhile; what they have not sent their reader finds out by itself.
        round.expect(sender in (SENDER, ME), f"a guest should send as itself, and {sender} has sent #{id}")
    added = {peer["address"] for peer in helper.ask("peers")["peers"]} - identities
    strange = {address for address in added if not address.startswith((f"{ME}", "guest+"))}
    strange -= _addressed(helper, last, last_now)
    round.expect(not strange, f"a guest should register nobody, and there are {strange}")


def _addressed(helper: Served, last: int, last_now: int) -> set[str]:
    """Return to whom the guest has sent: that it may, and `peers` lists whoever has mail."""
    found: set[str] = set()
    for id in range(last + 1, last_now + 1):
        found.update(helper.ask("recipients", {"id": id})["recipients"])
    return found


def _request(chance: random.Random, last: int) -> Any:
    """Return a request that names the honest wherever an address goes, or any other one."""
    shape = request(chance)
    if chance.random() < 0.2:
        return shape
    method = chance.choice(sorted(set(METHODS) - {"request", "wait_receipt"}))
    fields = [field.alias or name for name, field in METHODS[method].params.model_fields.items()]
    id = chance.randint(max(1, last - 50), last + 5)
    given: dict[str, Any] = {"id": id, "ids": [id], "type": "number", "body": "forged", "from_id": 1, "max": 50}
    given |= {"messages": [{"to": READER, "type": "number"}], "follow": False, "session": "honest", "all": False}
    given |= {"older_than_s": 0, "correlation_id": "c", "lease": chance.randint(1, 9), "method": "send", "peek": True}
    given |= {"calls": [{"method": "send", "params": [SENDER, READER, "number"]}], "subscription": 1}
    params = {name: given[name] for name in fields if name in given and name not in ("all", "lease")}
    for name in _NAMES:
        if name in fields:
            params[name] = chance.choice((SENDER, READER, READER, ME, [READER], "*:honest", "*:*"))
    if method == "send" and params.get("from") == ME:
        params["to"] = "nobody:sandbox"  # to write to the honest is its right, and would only be in their way
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": 1}


def as_another_user(round: Round, helper: Served) -> None:
    """Connect as a user who does not belong, though the mode of the socket would let him; where this is root."""
    if os.geteuid() != 0:
        print("socket: only root can become another user: that part is left out", file=sys.stderr)
        return
    mode = os.stat(helper.path).st_mode & 0o777
    round.expect(mode == 0o600, f"the socket should be its owner's alone, and has mode {mode:o}")
    place = os.path.dirname(helper.path)
    folder, before = os.open(place, os.O_RDONLY), os.stat(place).st_mode
    try:
        os.chmod(place, 0o711)
        round.expect(_visit(folder, helper.path) == b"EACCES", "another user should not even connect")
        os.chmod(helper.path, 0o666)
        answer = _visit(folder, helper.path)
        is_refused = b'"forbidden"' in answer and b"pong" not in answer
        round.expect(is_refused, f"another user should be refused, and was told {answer!r}")
    finally:
        os.chmod(helper.path, 0o600)
        os.chmod(place, before & 0o777)
        os.close(folder)
    round.count("connects by another user", 2)


def _visit(folder: int, path: str) -> bytes:
    """Ping as another user, from within the folder, and return what came of it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        found = b"failed"
        try:
            os.fchdir(folder)
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            found = talk(os.path.basename(path), b'{"jsonrpc":"2.0","method":"ping","id":1}\n')
        except PermissionError:
            found = b"EACCES"
        finally:
            os.write(writer, found)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found = pipe.read()
    os.waitpid(child, 0)
    return found
