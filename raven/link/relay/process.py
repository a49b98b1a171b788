"""Process: a relay as the whole program of a process, until a signal ends it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable
from typing import Any

from raven.link.relay.relay import Relay
from raven.link.settings import LinkSettings

# Added to the nice value of the process: mail on this host comes before a backlog of other hosts.
_NICE = 5


def run_until_signal(
    db_path: str,
    settings: LinkSettings,
    *,
    on_ready: Callable[[str], None] = lambda url: None,
    **options: Any,
) -> None:
    """Run a relay until SIGTERM or SIGINT; a second signal ends the process at once. Raises as `Relay.run`.

    `options` are the options of Relay.
    """
    os.nice(_NICE)
    gc.freeze()  # the objects of imported modules live as long as the process

    async def run() -> None:
        relay = Relay(db_path, settings, on_ready=on_ready, **options)
        loop = asyncio.get_running_loop()

        def stop() -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_DFL)
            relay.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await relay.run()

    asyncio.run(run())
