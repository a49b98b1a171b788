"""The Gemini API of Google, as far as Gemini CLI uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scripts.trials.agents.model.server import Api
from scripts.trials.agents.model.turn import Answer, Request, Say

MODEL = "gemini-2.5-flash"


def _read(at: float, body: Mapping[str, Any]) -> Request:
    contents = body.get("contents", [])
    last = max((index for index, content in enumerate(contents) if content["role"] == "model"), default=-1)
    news = "\n".join(_text(part) for content in contents[last + 1 :] for part in content["parts"])
    named = {one["name"] for tool in body.get("tools") or () for one in tool.get("functionDeclarations", ())}
    return Request(at, body, frozenset(named), news)


def _text(part: Mapping[str, Any]) -> str:
    result = part.get("functionResponse", {}).get("response", {})
    return str(part.get("text") or result.get("output") or "")


def _whole(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Say):
        part: dict[str, Any] = {"text": answer.text}
    else:
        part = {"functionCall": {"name": answer.tool, "args": dict(answer.arguments)}}
    content = {"role": "model", "parts": [part]}
    usage = {"promptTokenCount": 1000, "candidatesTokenCount": 10, "totalTokenCount": 1010}
    return {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage}


def _events(body: Mapping[str, Any], answer: Answer) -> Iterator[dict[str, Any]]:
    yield _whole(body, answer)


GENERATE = Api(f"/v1beta/models/{MODEL}:streamGenerateContent", _read, _events, _whole)
