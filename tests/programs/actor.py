"""Call methods of a client, `["send", ["worker:s", "note"], {}]` a line: `actor.py DB ADDRESS`.

Prints what each came to, and the moment: `{"result": ..., "at": ...}`, or `{"error": ..., "text": ..., "at": ...}` with
the names of the exception and its bases. `begin` and `commit` put one transaction around the calls between.
"""

import asyncio
import inspect
import json
import sys
import time
from contextlib import ExitStack

from raven import BusClient


def to_json(value):
    """Return a result as JSON can hold it."""
    if isinstance(value, list):
        return [to_json(one) for one in value]
    return value.as_dict() if hasattr(value, "as_dict") else value


def call(method, arguments, options):
    """Return what a method of the client returns, or a coroutine of it comes to."""
    if method == "begin":
        return stack.enter_context(bus.transaction()) and None
    if method == "commit":
        return stack.close()
    value = getattr(bus, method)(*arguments, **options)
    return asyncio.run(value) if inspect.iscoroutine(value) else value


bus = BusClient.at(sys.argv[2], sys.argv[1])
with ExitStack() as stack:
    for line in sys.stdin:
        try:
            answer = {"result": to_json(call(*json.loads(line)))}
        except (Exception, KeyboardInterrupt) as error:
            answer = {"error": [kind.__name__ for kind in type(error).__mro__], "text": str(error)}
        print(json.dumps({**answer, "at": time.monotonic()}), flush=True)
