"""Run a command of raven that kills itself at a step: `killed_at.py MODULE CLASS.METHOD WHEN COUNT ARGUMENTS...`.

WHEN is `before` the call of that number, or `after` it; calls that return nothing do not count after them.
"""

import functools
import importlib
import inspect
import itertools
import os
import signal
import sys

module, path, when, count, *arguments = sys.argv[1:]
owner_name, name = path.split(".")
owner = getattr(importlib.import_module(module), owner_name)
original = getattr(owner, name)
steps = itertools.count(1)


def come(step: str) -> None:
    if step == when and next(steps) == int(count):
        os.kill(os.getpid(), signal.SIGKILL)


@functools.wraps(original)
def call(*args: object, **options: object) -> object:
    come("before")
    result = original(*args, **options)
    if result:
        come("after")
    return result


@functools.wraps(original)
async def call_async(*args: object, **options: object) -> object:
    come("before")
    result = await original(*args, **options)
    if result:
        come("after")
    return result


setattr(owner, name, call_async if inspect.iscoroutinefunction(original) else call)
sys.argv = ["raven", *arguments]
from raven.cli.main import main  # noqa: E402

sys.exit(main())
