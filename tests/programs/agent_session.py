"""A session of a coding agent: `agent_session.py DB HOST ID` does one thing for each line, `[NAME, OPTIONS]`.

`bind`, `rebind`, `note` and `end` are the methods of Agents; `inbox` and `claim` read the mail of its address.
"""

import json
import os
import sys
from typing import Any

from raven import BusClient
from raven.agents import process
from raven.agents.agents import Agents, Binding

db, host, native_id = sys.argv[1:]
bus = BusClient.at("setup:setup", db, register=False)
agents = Agents(bus._store)
address = ""


def shown(binding: Binding) -> dict[str, Any]:
    """Return a binding with the ids of the sessions in it."""
    others = {name: getattr(binding, name) for name in ("taken_by", "taken_over")}
    return {
        "address": binding.address,
        "resumed": binding.resumed,
        **{name: other and other.native_id for name, other in others.items()},
    }


print(json.dumps(os.getpid()), flush=True)
for line in sys.stdin:
    name, options = json.loads(line)
    answer: Any = None
    if name == "bind":
        binding = agents.bind(options.pop("wanted"), host, native_id, process.own(), os.getcwd(), **options)
        address, answer = binding.address, shown(binding)
    elif name == "rebind":
        answer = shown(agents.rebind(host, native_id, options))
        address, native_id = answer["address"], options
    elif name == "note":
        agents.note(host, native_id, **options)
    elif name == "end":
        agents.end(host, native_id)
    else:
        with BusClient.at(address, db) as own:
            answer = [message.body for message in getattr(own, name)(**options)]
    print(json.dumps(answer), flush=True)
