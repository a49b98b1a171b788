"""Integrations: the plugins that raven brings along, as files in its wheel."""

from __future__ import annotations

import os
from collections.abc import Iterator

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integrations")


def read_text(*parts: str) -> str:
    """Return a file of an integration."""
    with open(os.path.join(FOLDER, *parts), encoding="utf-8") as file:
        return file.read()


def read_folder(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield each file of an integration: its path below the integration's folder, and its content."""
    top = os.path.join(FOLDER, name)
    for folder, folders, names in os.walk(top):
        folders.sort()
        for file_name in sorted(names):
            path = os.path.join(folder, file_name)
            with open(path, "rb") as file:
                yield os.path.relpath(path, top), file.read()
