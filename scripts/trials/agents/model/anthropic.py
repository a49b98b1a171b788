"""The Messages API of Anthropic, as far as Claude Code uses it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.trials.agents.model.server import Api
from scripts.trials.agents.model.turn import Answer, Request, Say


def _read(at: float, body: Mapping[str, Any]) -> Request:
    messages = body.get("messages", [])
    last = max((index for index, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    news = "\n".join(_text(message["content"]) for message in messages[last + 1 :])
    return Request(at, body, frozenset(tool["name"] for tool in body.get("tools") or ()), news)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(map(_text, content))
    return str(content.get("text") or "") + _text(content.get("content") or "")


def _block(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Say):
        return {"type": "text", "text": answer.text}
    name = f"toolu_{uuid.uuid4().hex[:24]}"
    return {"type": "tool_use", "id": name, "name": answer.tool, "input": dict(answer.arguments)}


def _whole(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [_block(answer)],
        "stop_reason": "end_turn" if isinstance(answer, Say) else "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 10},
    }


def _events(body: Mapping[str, Any], answer: Answer) -> Iterator[dict[str, Any]]:
    whole = _whole(body, answer)
    block = whole["content"][0]
    yield {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}
    if isinstance(answer, Say):
        empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": answer.text}
    else:
        empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    yield {"type": "content_block_start", "index": 0, "content_block": empty}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    ending = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 10}}
    yield {"type": "message_stop"}


MESSAGES = Api("/v1/messages", _read, _events, _whole)
