"""A server process: the HTTP server of a bus, or a bare program on uvicorn; it prints its port when it listens.

usage: python -m scripts.benchmarks.http.server raven|bare DB [OPTION=VALUE ...]     bare: Starlette, and the inserts of
                                a send in bare apsw; options of its uvicorn.Config: http=h11 loop=uvloop
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn


def main(kind: str, db: str, options: dict[str, str]) -> None:
    if kind == "raven":
        from raven_http import serve

        serve(db, "127.0.0.1:0", ready=lambda url: print(urlsplit(url).port, flush=True))
        return
    # Only for a socket with its protocol does asyncio set TCP_NODELAY; without it an answer in two parts takes 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    print(listening.getsockname()[1], flush=True)  # the kernel queues connections until the server accepts them
    config = uvicorn.Config(_bare_app(Path(db)), log_level="warning", access_log=False, **options)  # type: ignore
    uvicorn.Server(config).run([listening])


def _bare_app(db: Path) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from scripts.benchmarks.send import LeanFloor

    floor = LeanFloor(db)

    async def send(request: Request) -> JSONResponse:
        params = await request.json()
        body = json.dumps(params["body"], separators=(",", ":"))
        floor.run("BEGIN IMMEDIATE")
        message_id = floor.insert(body)
        floor.run("COMMIT")
        return JSONResponse({"id": message_id, **params})

    return Starlette(routes=[Route("/send", send, methods=["POST"])])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], dict(option.split("=", 1) for option in sys.argv[3:]))
