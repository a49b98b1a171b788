"""A server process: the server of a bus, or a bare line-echo server. Each prints a line when it listens.

usage: python -m scripts.benchmarks.server raven|alone|echo|inserts DB SOCKET     alone: no group commit
                                              inserts: an echo that first makes the inserts of a send
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path


def main(kind: str, db: str, path: str) -> None:
    if kind == "echo":
        asyncio.run(_echo(path, lambda: None))
        return
    if kind == "inserts":
        from scripts.benchmarks.send import LeanFloor

        asyncio.run(_echo(path, LeanFloor(Path(db)).send))
        return
    from raven_rpc import serve

    serve(db, path, group_commit=kind == "raven", ready=_print)


async def _echo(path: str, work: Callable[[], None]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            work()
            writer.write(line)
            await writer.drain()

    server = await asyncio.start_unix_server(answer, path)
    _print(path)
    await server.serve_forever()


def _print(path: str) -> None:
    print(path, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
