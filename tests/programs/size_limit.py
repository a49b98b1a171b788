"""Send under a file size limit, then without: `size_limit.py DB`; prints the error's class name and the ids sent."""

import json
import resource
import sys

from raven import BusClient, RavenError

bus = BusClient.at("worker:s", sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
try:
    bus.send("worker:s", "big", "x" * 1_000_000)
except RavenError as error:
    name, text = type(error).__name__, str(error)
stored = bus.last_id()
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(json.dumps({"error": name, "text": text, "stored": stored, "id": bus.send("worker:s", "big", "x").id}))
