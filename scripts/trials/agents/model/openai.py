"""The Responses API of OpenAI, as far as Codex uses it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.trials.agents.model.server import Api
from scripts.trials.agents.model.turn import Answer, Request, Say

# Items of the input that the model wrote itself.
_OWN = {"function_call", "custom_tool_call", "tool_search_call", "reasoning"}
# Between the name of a namespace and that of its tool, in the names of this trial.
_SEPARATOR = "."


def _read(at: float, body: Mapping[str, Any]) -> Request:
    items = body.get("input") or []
    last = max((index for index, item in enumerate(items) if _is_own(item)), default=-1)
    news = "\n".join(map(_text, items[last + 1 :]))
    tools = list(body.get("tools") or ())
    for item in items:
        tools += item.get("tools") or ()
    return Request(at, body, frozenset(name for tool in tools for name in _names(tool)), news)


def _is_own(item: Mapping[str, Any]) -> bool:
    return item.get("type") in _OWN or item.get("role") == "assistant"


def _names(tool: Mapping[str, Any]) -> Iterator[str]:
    name = str(tool.get("name") or tool["type"])
    if tool["type"] == "namespace":
        yield from (f"{name}{_SEPARATOR}{one['name']}" for one in tool["tools"])
    else:
        yield name


def _text(item: Any) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, list):
        return "\n".join(map(_text, item))
    return "\n".join(_text(item[key]) for key in ("text", "content", "output") if item.get(key))


def _item(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Say):
        content = [{"type": "output_text", "text": answer.text, "annotations": []}]
        return {"type": "message", "id": _id("msg"), "role": "assistant", "status": "completed", "content": content}
    namespace, _, name = answer.tool.rpartition(_SEPARATOR)
    if name == "tool_search":
        call = {"type": "tool_search_call", "execution": "client", "arguments": dict(answer.arguments)}
        return {**call, "id": _id("tsc"), "call_id": _id("call"), "status": "completed"}
    call = {"type": "function_call", "id": _id("fc"), "call_id": _id("call"), "status": "completed", "name": name}
    if namespace:
        call["namespace"] = namespace
    return {**call, "arguments": json.dumps(answer.arguments)}


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:24]}"


def _whole(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    usage = {"input_tokens": 1000, "output_tokens": 10, "total_tokens": 1010}
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    return {
        "id": _id("resp"),
        "object": "response",
        "status": "completed",
        "model": body["model"],
        "output": [_item(answer)],
        "usage": {**usage, **details},
    }


def _events(body: Mapping[str, Any], answer: Answer) -> Iterator[dict[str, Any]]:
    whole = _whole(body, answer)
    item = whole["output"][0]
    yield {"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}}
    yield {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress"}}
    if isinstance(answer, Say):
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        yield {"type": "response.output_text.delta", **place, "delta": answer.text}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": whole}


RESPONSES = Api("/v1/responses", _read, _events, _whole)
