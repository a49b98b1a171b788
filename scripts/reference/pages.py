"""The generated pages, each with the function that renders it from its current text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scripts.reference import cli, protocol, python

ROOT = Path(__file__).parents[2]
PAGES: dict[str, Callable[[str], str]] = {
    "docs/cli.md": cli.render,
    "docs/python.md": python.render,
    "rpc/PROTOCOL.md": protocol.render,
}
