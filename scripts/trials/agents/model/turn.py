"""Turn: one request of a program to its model in the terms of all programs, and the model's answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Say(NamedTuple):
    """The model ends its turn with a text."""

    text: str


class Use(NamedTuple):
    """The model calls a tool by its full name, as the request lists it."""

    tool: str
    arguments: Mapping[str, Any] = {}


class Request(NamedTuple):
    """A request: its time by the monotonic clock, its tools, and the text since the last answer of the model.

    `news` has user input, tool results and inserted notices; `body` is the whole JSON of the request. A request
    without tools is none of the conversation: programs also ask for titles and summaries.
    """

    at: float
    body: Mapping[str, Any]
    tools: frozenset[str]
    news: str

    def find(self, tool: str) -> str:
        """Return the full name of a tool of raven, or "" if the request does not list it."""
        named = [name for name in self.tools if "raven" in name and re.split(r"[_.]", name)[-1] == tool]
        return min(named, default="")

    @property
    def text(self) -> str:
        """The whole request as text."""
        return json.dumps(self.body, ensure_ascii=False)


Answer = Say | Use
# A model that reads a request and decides on its answer.
Model = Callable[[Request], Answer]
