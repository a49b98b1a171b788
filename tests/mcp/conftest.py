"""Fixtures of the MCP tests: servers that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.agent_session import AgentSession, Inbox
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


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a home of its own: flags lie there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a home, and a folder `pay` to work in."""
    work = home / "pay"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    one = Inbox(tmp_path)
    yield one
    one.close()


@pytest.fixture
def start(db: str) -> Iterator[Callable[..., AgentSession]]:
    """Start sessions, of Claude Code by default."""
    with closed_at_the_end(lambda **options: AgentSession(db, **options).start()) as start:
        yield start
