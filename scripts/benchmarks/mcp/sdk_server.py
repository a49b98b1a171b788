"""A minimal server of the official SDK on stdio: its tools send to a bus and wait for mail there, or only answer.

usage: python scripts/benchmarks/mcp/sdk_server.py [DB ADDRESS]
"""

from __future__ import annotations

import sys

from mcp.server import MCPServer


def main(*place: str) -> None:
    server = MCPServer("minimal", log_level="ERROR")
    if place:
        _add_bus(server, *place)
    else:

        @server.tool()
        async def send(to: str, type: str, body: str) -> str:
            return f"sent to {to}"

    server.run("stdio")


def _add_bus(server: MCPServer, db: str, address: str) -> None:
    from raven import BusClient

    bus = BusClient.at(address, db)
    # One subscription for all calls: the start of one takes longer than a wake.
    mail = bus.subscribe()

    @server.tool()
    async def send(to: str, type: str, body: str) -> str:
        return f"sent #{bus.send(to, type, body).id}"

    @server.tool()
    async def inbox(wait_s: float) -> str:
        message = await anext(mail)
        return f"#{message.id} {message.body}"


if __name__ == "__main__":
    main(*sys.argv[1:])
