"""Identity: the program at the other end, its name for the session, and the address that the session asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from zlib import crc32

from raven.agents.agents import MAX_NAME, check_address
from raven.errors import AddressError, ConfigError, abbreviate
from raven_mcp.session.announced import is_native_id
from raven_mcp.wire.requests import Call

CLAUDE, CODEX = "claude-code", "codex"
# What a client's name begins with, and the name of the program here.
_HOSTS = {
    "claude-code": CLAUDE,
    "codex": CODEX,
    "opencode": "opencode",
    "gemini": "gemini",
    "cursor": "cursor",
}
_ROLES = {CLAUDE: "claude"}
# Programs that never name their session to a server: a server is one session, and need not wait for a name.
NAMELESS = frozenset({"opencode", "gemini", "cursor"})
_UNKNOWN = "agent"
# The variables in which Claude Code names its session, and the folder of its project.
_SESSION_VARIABLE, _FOLDER_VARIABLE = "CLAUDE_CODE_SESSION_ID", "CLAUDE_PROJECT_DIR"
_NAMED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")
_HEX = frozenset("0123456789abcdef")
_MAX_LINK = 4096
_GIT_LINK = "gitdir:"


def host_of(client: str) -> str:
    """Return the program that a client's name stands for: a known one, or the name as one word."""
    name = _as_name(client, _UNKNOWN)
    return next((host for start, host in _HOSTS.items() if name == start or name.startswith(f"{start}-")), name)


def from_environment(host: str, environ: Mapping[str, str]) -> str | None:
    """Return the session that the environment names; None if the program names it elsewhere, or nowhere."""
    return file_name(environ.get(_SESSION_VARIABLE)) if host == CLAUDE else None


def from_call(host: str, call: Call) -> str | None:
    """Return the session that a call names; None if it names none.

    A hook names the session in which its event happened, which after a `/clear` is another one. Codex names its thread
    with each call. A hook of an agent within the session names that agent: its calls are not asked.
    """
    thread = file_name(call.meta.get("threadId")) if host == CODEX else None
    if thread is not None or call.name != "hook":
        return thread
    return None if is_subagent(call) else file_name(call.arguments.get("session"))


def is_subagent(call: Call) -> bool:
    """Whether a hook's event is that of an agent within the session.

    Claude Code names that agent. Codex has a thread for it, and names the session's own thread in the hook.
    """
    agent = call.arguments.get("agent")
    if agent and not _is_unfilled(agent):
        return True
    thread, session = file_name(call.meta.get("threadId")), file_name(call.arguments.get("session"))
    return call.name == "hook" and None not in (thread, session) and thread != session


def role_of_agent(call: Call) -> str | None:
    """Return the role that a hook gives the session: the name of the agent that it was started as, if it was one.

    Claude Code names it with `claude --agent`, and an agent within the session in the same way.
    """
    name = call.arguments.get("agent_type")
    if call.name != "hook" or not isinstance(name, str) or _is_unfilled(name) or is_subagent(call):
        return None
    return _as_name(name, "") or None


def file_name(value: Any) -> str | None:
    """Return a program's name for a session as the name of a file can be; None if it is no name."""
    if not isinstance(value, str) or not value or _is_unfilled(value):
        return None
    if is_native_id(value):
        return value
    from hashlib import sha256

    return sha256(value.encode(errors="replace")).hexdigest()


def _is_unfilled(value: Any) -> bool:
    """Whether a program has left the place of a value, `${agent_id}`, as it was: it has no such value."""
    return isinstance(value, str) and value.startswith("${") and value.endswith("}")


def working_folder(host: str, environ: Mapping[str, str]) -> str:
    """Return the folder in which the session works; "/" if it is gone."""
    project = environ.get(_FOLDER_VARIABLE, "") if host == CLAUDE else ""
    if os.path.isabs(project) and os.path.isdir(project):
        return project
    try:
        return os.getcwd()
    except OSError:
        return "/"


def wanted(
    host: str, native_id: str, folder: str, *, given: str | None, setting: str | None, environ: Mapping[str, str]
) -> str:
    """Return the address that a session asks for.

    Each part is that of `given`, the option --as; else that of RAVEN_ROLE or RAVEN_SESSION. Then a session has the
    `setting` of raven.yaml, or the name of its repository's main folder. A role has the name of the program, and four
    digits of the session's id. Raises AddressError or ConfigError that names the source.
    """
    if given is not None:
        return str(check_address(given))
    role = _checked("RAVEN_ROLE", environ.get("RAVEN_ROLE")) or default_role(host, native_id)
    session = _checked("RAVEN_SESSION", environ.get("RAVEN_SESSION")) or _checked("session in raven.yaml", setting)
    return f"{role}:{session or _as_name(os.path.basename(main_folder(folder)), 'home')}"


def default_role(host: str, native_id: str) -> str:
    """Return a role for a session that was given none: `claude-3f2a`."""
    end = native_id[-4:].lower()
    mark = end if len(end) == 4 and _HEX.issuperset(end) else f"{crc32(native_id.encode()):08x}"[:4]
    return f"{_ROLES.get(host, host)[: MAX_NAME - 5]}-{mark}"


def main_folder(folder: str) -> str:
    """Return the folder of the main working tree of the repository around a folder; without one, the folder itself.

    A linked working tree has a file `.git` that names a folder of the repository, and `commondir` in it the repository.
    """
    top = os.path.abspath(folder)
    while not os.path.exists(os.path.join(top, ".git")):
        if top == os.path.dirname(top):
            return folder
        top = os.path.dirname(top)
    git = os.path.join(top, ".git")
    link = _first_line(git)
    if not link.startswith(_GIT_LINK):
        return top
    own = os.path.join(top, link[len(_GIT_LINK) :].strip())
    common = _first_line(os.path.join(own, "commondir"))
    if not common:  # a submodule
        return top
    repository = os.path.normpath(os.path.join(own, common))
    return os.path.dirname(repository) if os.path.basename(repository) == ".git" else repository.removesuffix(".git")


def _first_line(path: str) -> str:
    """Return the first line of a regular file; empty if there is none."""
    try:
        if not os.path.isfile(path):
            return ""
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.readline(_MAX_LINK).strip()
    except OSError:
        return ""


def _checked(source: str, value: str | None) -> str | None:
    """Return a part of an address, None if it is not given; raises ConfigError that names its source."""
    if not value:
        return None
    try:
        return check_address(f"{value}:x").role
    except AddressError:
        raise ConfigError(
            f"{source} is {abbreviate(value)}, but must be 1 to {MAX_NAME} of the characters a-z, 0-9, '_', '.' and "
            "'-', and begin with a letter or a digit"
        ) from None


def _as_name(text: str, otherwise: str) -> str:
    """Return a text as a part of an agent's address; `otherwise` if nothing of it can stay."""
    words = "".join(char if char in _NAMED else "-" for char in text.lower())
    return words.lstrip("_.-")[:MAX_NAME].rstrip("-") or otherwise
