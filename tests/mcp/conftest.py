"""Fixtures of the MCP tests: servers that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.harness import McpClient
from tests.support import closed_at_the_end


@pytest.fixture
def start_mcp(tmp_path: Path, db: str) -> Iterator[Callable[..., McpClient]]:
    """Start servers on the bus of the test: `start_mcp("--as", "a:s", modern=True)`; `begin=False` sends nothing."""

    def make(*arguments: str, modern: bool = False, begin: bool = True, **options: Any) -> McpClient:
        client = McpClient(options.pop("folder", tmp_path), *arguments, db=options.pop("bus", db), **options)
        if begin:
            client.start(modern=modern)
        return client

    with closed_at_the_end(make) as make_one:
        yield make_one
