"""Table: every tool with its parameters and its hints, as `tools/list` shows them, and the check of a call.

The list is part of what each session of an agent pays for, and so descriptions are short, and a schema leaves out the
limits that an error explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from raven.errors import InputError, abbreviate
from raven.model.limits import is_number
from raven.model.message import URGENCIES

TEXT, INTEGER, NUMBER, FLAG, ANY, TEXTS, INTEGERS = "text", "integer", "number", "flag", "any", "texts", "integers"
MAX_WAIT_S = 110
_NO_LIMIT = float("inf")
_TYPES: dict[str, dict[str, Any]] = {
    TEXT: {"type": "string"},
    INTEGER: {"type": "integer"},
    NUMBER: {"type": "number"},
    FLAG: {"type": "boolean"},
    ANY: {},
    TEXTS: {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    INTEGERS: {"type": "array", "items": {"type": "integer"}},
}
_NAMES = {
    TEXT: "a text",
    INTEGER: "a whole number",
    NUMBER: "a number",
    FLAG: "true or false",
    TEXTS: "a text or a list of texts",
    ANY: "a text or JSON",
    INTEGERS: "a list of whole numbers",
}


class Parameter(NamedTuple):
    """One argument of a tool: its kind, its description for the model, and the values that it may have."""

    kind: str
    description: str = ""
    is_required: bool = False
    low: float = 0
    high: float = _NO_LIMIT
    choices: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        schema = dict(_TYPES[self.kind])
        if self.choices:
            schema["enum"] = list(self.choices)
        if self.description:
            schema["description"] = self.description
        return schema


class Tool(NamedTuple):
    """One tool. `is_loaded` asks Claude Code to show it to the model from the start; only `hook` is not listed."""

    description: str
    parameters: dict[str, Parameter]
    is_read_only: bool = False
    is_idempotent: bool = False
    is_loaded: bool = False
    is_listed: bool = True

    def listed(self, name: str) -> dict[str, Any]:
        """Return the tool as `tools/list` shows it."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: parameter.schema() for name, parameter in self.parameters.items()},
        }
        required = [name for name, parameter in self.parameters.items() if parameter.is_required]
        if required:
            schema["required"] = required
        # A host asks the user before a call unless these say that no other system is reached and nothing is lost.
        hints = {"readOnlyHint": self.is_read_only, "destructiveHint": False, "openWorldHint": False}
        if self.is_idempotent:
            hints["idempotentHint"] = True
        tool = {"name": name, "description": self.description, "inputSchema": schema, "annotations": hints}
        return tool | {"_meta": {"anthropic/alwaysLoad": True}} if self.is_loaded else tool


_ID = Parameter(INTEGER, is_required=True, low=1)
_BODY = Parameter(ANY, "text or JSON", is_required=True)
_TYPE = Parameter(TEXT)

TOOLS: dict[str, Tool] = {
    "send": Tool(
        "Send a message to other sessions. With wait_s, stay for the answer.",
        {
            "to": Parameter(TEXTS, "role:session, *:session (all there), or a list", is_required=True),
            "body": _BODY,
            "type": _TYPE,
            "urgency": Parameter(TEXT, "fyi wakes no session", choices=URGENCIES),
            "wait_s": Parameter(NUMBER, high=MAX_WAIT_S),
            "expires_in_s": Parameter(NUMBER),
            "dedup_key": Parameter(TEXT),
        },
        is_loaded=True,
    ),
    "inbox": Tool(
        "Read unfinished mail. wait_s: stay for new mail. id, offset: read on where a body is `cut`.",
        {
            "max": Parameter(INTEGER, low=1, high=100),
            "wait_s": Parameter(NUMBER),
            "id": Parameter(INTEGER, low=1),
            "offset": Parameter(INTEGER),
        },
        is_idempotent=True,
        is_loaded=True,
    ),
    "reply": Tool(
        "Answer a message and finish it (keep: do not finish it).",
        {"id": _ID, "body": _BODY, "type": _TYPE, "keep": Parameter(FLAG)},
    ),
    "done": Tool(
        "Finish messages; or give them back, for another try.",
        {
            "ids": Parameter(INTEGERS, is_required=True, low=1, high=100),
            "give_back": Parameter(FLAG),
            "reason": Parameter(TEXT),
        },
        is_idempotent=True,
    ),
    "peers": Tool(
        "List the other sessions: address, state, unread mail.",
        {"session": Parameter(TEXT)},
        is_read_only=True,
    ),
    "thread": Tool(
        "Show the conversation of a message, and who has read what.",
        {"id": _ID, "max": Parameter(INTEGER, low=1, high=100)},
        is_read_only=True,
    ),
    "join": Tool(
        "Take the address role:session. about: your task, for others. share: with a session that has it.",
        {
            "role": Parameter(TEXT, is_required=True),
            "session": Parameter(TEXT),
            "about": Parameter(TEXT, high=80),
            "share": Parameter(FLAG),
        },
        is_idempotent=True,
    ),
    "hook": Tool(
        "Hear the news of a hook of the host.",
        {
            "event": Parameter(TEXT, is_required=True),
            "session": Parameter(TEXT),
            "agent": Parameter(TEXT),
            "active": Parameter(ANY),
        },
        is_listed=False,
    ),
}


def listed() -> list[dict[str, Any]]:
    """Return the tools as `tools/list` shows them."""
    return [tool.listed(name) for name, tool in TOOLS.items() if tool.is_listed]


def check(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that are given, a null being none; raises InputError that names the first wrong one."""
    parameters = TOOLS[tool].parameters
    for name in arguments:
        if name not in parameters:
            raise InputError(f"{tool} has no argument {abbreviate(name)}: use {', '.join(parameters)}")
    checked = {}
    for name, parameter in parameters.items():
        value = arguments.get(name)
        if value is not None or (name in arguments and parameter.kind == ANY):
            checked[name] = _check(name, value, parameter)
        elif parameter.is_required:
            raise InputError(f"{tool} needs {name}: give {_NAMES[parameter.kind]}")
    return checked


def _check(name: str, value: Any, parameter: Parameter) -> Any:
    kind, low, high = parameter.kind, parameter.low, parameter.high
    fits, expected = True, _NAMES[kind]
    if parameter.choices:
        fits, expected = value in parameter.choices, f"known: use {', '.join(parameter.choices)}"
    elif kind == TEXT:
        fits = isinstance(value, str) and len(value) <= high
        expected += "" if high == _NO_LIMIT else f" of at most {high} characters"
    elif kind == FLAG:
        fits = isinstance(value, bool)
    elif kind == TEXTS:
        fits = isinstance(value, str) or _is_list_of(value, str)
    elif kind == INTEGERS:
        value = [_whole(item) for item in value] if isinstance(value, list) else value
        fits = _is_list_of(value, int) and low <= len(value) <= high
        expected += f", {low} to {high} of them"
    elif kind in (INTEGER, NUMBER):
        value = _whole(value) if kind == INTEGER else value
        fits = is_number(value, low, high) and (kind == NUMBER or isinstance(value, int))
        expected += f", {low} or more" if high == _NO_LIMIT else f" from {low} to {high}"
    if not fits:
        raise InputError(f"{name} {abbreviate(value)} is not {expected}")
    return value


def _whole(value: Any) -> Any:
    """Return 7.0 as 7, because JSON knows no difference; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_list_of(value: Any, type: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, type) and not isinstance(item, bool) for item in value)
