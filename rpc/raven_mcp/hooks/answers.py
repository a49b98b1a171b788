"""Answers: the JSON by which each host hands a notice to its model, for each event of its hooks.

An answer without a notice is `{}`, which no host shows to the user or the model.

Sources: code.claude.com/docs/en/hooks; learn.chatgpt.com/docs/hooks (Codex), and its published schemas, by which a Stop
has no additional context and a `hookEventName` is the event's own; geminicli.com/docs/hooks/reference; and
cursor.com/docs/agent/hooks.
"""

from __future__ import annotations

from typing import Any

HOSTS = ("claude-code", "codex", "gemini", "opencode", "cursor")

SESSION_START, PROMPT, AFTER_TOOL, STOP, SESSION_END = "session-start", "prompt", "after-tool", "stop", "session-end"
# What a hook's event means for mail: each kind with the names that hosts have for it.
KINDS: dict[str, tuple[str, ...]] = {
    SESSION_START: ("SessionStart", "sessionStart"),
    PROMPT: ("UserPromptSubmit", "BeforeAgent", "beforeSubmitPrompt"),
    AFTER_TOOL: ("PostToolBatch", "PostToolUse", "PostToolUseFailure", "AfterTool", "postToolUse"),
    STOP: ("Stop", "AfterAgent", "stop"),
    SESSION_END: ("SessionEnd", "sessionEnd"),
}
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in (kind, *names)}
# The events of a host whose answer can have additional context, by kind; the first is the one that a kind stands for.
_CONTEXT: dict[str, dict[str, tuple[str, ...]]] = {
    "claude-code": {
        SESSION_START: ("SessionStart",),
        PROMPT: ("UserPromptSubmit",),
        AFTER_TOOL: ("PostToolBatch", "PostToolUse", "PostToolUseFailure"),
        STOP: ("Stop",),
    },
    "codex": {SESSION_START: ("SessionStart",), PROMPT: ("UserPromptSubmit",), AFTER_TOOL: ("PostToolUse",)},
    "gemini": {SESSION_START: ("SessionStart",), PROMPT: ("BeforeAgent",), AFTER_TOOL: ("AfterTool",)},
}
# The decision that lets a turn go on after its stop.
_GO_ON = {"codex": "block", "gemini": "deny"}


def kind_of(event: str) -> str | None:
    """Return the kind of an event, by a host's name or by the kind's own; None if mail has no part in the event."""
    return _KIND_OF.get(event)


def render(host: str, event: str, notice: str | None) -> dict[str, Any]:
    """Return the answer of a hook; `{}` without a notice, and if the host has no way to show one at this event.

    A notice at a stop lets the agent's turn go on.
    """
    kind = _KIND_OF.get(event)
    if not notice or kind is None:
        return {}
    if host == "cursor":
        return _for_cursor(kind, notice)
    if host == "opencode":  # raven's own plugin reads it
        return {"notice": notice}
    names = _CONTEXT.get(host, {}).get(kind)
    if names:
        name = event if event in names else names[0]
        return {"hookSpecificOutput": {"hookEventName": name, "additionalContext": notice}}
    if kind == STOP and host in _GO_ON:
        return {"decision": _GO_ON[host], "reason": notice}
    return {}


def can_show(host: str, event: str) -> bool:
    """Whether a host has a way to show its model a notice at an event: without one no message counts as announced."""
    return bool(render(host, event, "?"))


def _for_cursor(kind: str, notice: str) -> dict[str, Any]:
    """Return Cursor's answer, by its documents; they name none that adds to a prompt."""
    if kind in (SESSION_START, AFTER_TOOL):
        return {"additional_context": notice}
    return {"followup_message": notice} if kind == STOP else {}
