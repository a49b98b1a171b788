"""A helper process that serves a bus, or beside it a bare line-echo server; both print a line when they listen.

usage: python -m scripts.benchmarks.helper raven|alone|echo DB SOCKET     alone: without group commit
"""

from __future__ import annotations

import asyncio
import sys


def main(kind: str, db: str, path: str) -> None:
    if kind == "echo":
        asyncio.run(_echo(path))
        return
    from raven_rpc import serve

    serve(db, path, group_commit=kind == "raven", ready=_say)


async def _echo(path: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()

    server = await asyncio.start_unix_server(answer, path)
    _say(path)
    await server.serve_forever()


def _say(path: str) -> None:
    print(path, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
