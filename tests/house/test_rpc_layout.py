"""What the helper shows, and what its client needs."""

from __future__ import annotations

import subprocess
import sys

import raven_rpc


def test_the_public_names_of_the_helper_are_exactly_these() -> None:
    assert sorted(raven_rpc.__all__) == ["Client", "Server", "serve"]
    assert all(getattr(raven_rpc, name) for name in raven_rpc.__all__)


def test_a_client_needs_nothing_of_the_server() -> None:
    program = "import sys; from raven_rpc import Client; Client('x'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"jsonrpcserver", "pydantic", "apsw", "watchfiles", "asyncio"} & set(loaded)
