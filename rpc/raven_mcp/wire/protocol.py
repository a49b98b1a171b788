"""Protocol: requests of both eras, checked, and the envelopes of their results.

The modern era (2026-07-28) has no handshake: each request names its version in `_meta`. The legacy era begins with
`initialize`. One server speaks both: https://modelcontextprotocol.io/specification/2026-07-28/basic/versioning.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from raven.errors import abbreviate
from raven.model.version import __version__
from raven_mcp.wire.requests import Client
from raven_rpc.jsonrpc import messages

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
UNSUPPORTED_VERSION = -32022
SERVER = {"name": "raven", "version": __version__}

_PREFIX = "io.modelcontextprotocol/"
_VERSION, _CLIENT, _CAPABILITIES = _PREFIX + "protocolVersion", _PREFIX + "clientInfo", _PREFIX + "clientCapabilities"


class RefusedError(Exception):
    """A line that gets an error response; `id` is None if the line has no valid id."""

    def __init__(self, code: int, message: str, id: Any = None, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self._error: dict[str, Any] = {"code": code, "message": message}
        if data is not None:
            self._error["data"] = data
        self.id = id

    def response(self) -> bytes:
        """Return the error response as a line."""
        return messages.encode(messages.failure(self.id, self._error))


class Request(NamedTuple):
    """A request, or a notification, which has no id."""

    id: Any
    method: str
    params: dict[str, Any]
    meta: dict[str, Any]
    is_notification: bool

    @property
    def is_modern(self) -> bool:
        """Whether it names a protocol version itself."""
        return _VERSION in self.meta

    def invalid(self, message: str) -> RefusedError:
        """Return the refusal of its params."""
        return RefusedError(messages.INVALID_PARAMS, message, self.id)

    def unknown(self) -> RefusedError:
        """Return the refusal of its method."""
        return RefusedError(messages.METHOD_NOT_FOUND, f"there is no method {abbreviate(self.method)}", self.id)


def parse(line: bytes | None) -> Request | None:
    """Return the request of a line; raises RefusedError. A line of None was too long.

    Returns None for a response, and for a notification with bad params: neither is answered.
    """
    if line is None:
        raise RefusedError(messages.PARSE_ERROR, "the line is longer than 4 MiB: send less at once")
    try:
        message = messages.parse(line)
    except messages.ParseError as error:
        raise RefusedError(messages.PARSE_ERROR, f"the line is not JSON: {error}") from None
    if isinstance(message, list):
        raise RefusedError(messages.INVALID_REQUEST, "MCP has no batches: send one request a line")
    if not isinstance(message, dict):
        raise RefusedError(messages.INVALID_REQUEST, f"{abbreviate(message)} is no request: send a JSON object")
    id, dialect, method = message.get("id"), message.get("jsonrpc"), message.get("method")
    is_notification = "id" not in message
    if not is_notification and (not isinstance(id, int | str) or isinstance(id, bool)):
        raise RefusedError(messages.INVALID_REQUEST, f"the id {abbreviate(id)} is neither a string nor an integer")
    if "method" not in message and ("result" in message or "error" in message):
        return None
    if dialect != "2.0":
        raise RefusedError(messages.INVALID_REQUEST, f"jsonrpc is {abbreviate(dialect)}: it must be '2.0'", id)
    if not isinstance(method, str):
        raise RefusedError(messages.INVALID_REQUEST, f"the method {abbreviate(method)} is not a string", id)
    try:
        params = _object(message, "params", id)
        return Request(id, method, params, _object(params, "_meta", id), is_notification)
    except RefusedError:
        if is_notification:
            return None
        raise


def _object(holder: dict[str, Any], name: str, id: Any) -> dict[str, Any]:
    """Return an object that may be left out."""
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RefusedError(messages.INVALID_PARAMS, f"{name} is {abbreviate(value)}: it must be an object", id)
    return value


def check_version(request: Request, *, is_legacy_only: bool) -> None:
    """Check the version of a modern request, and the fields that one must have; raises RefusedError."""
    version = request.meta[_VERSION]
    if version != MODERN or is_legacy_only:
        supported = LEGACY if is_legacy_only else (MODERN, *LEGACY)
        raise RefusedError(
            UNSUPPORTED_VERSION,
            f"this server does not speak the protocol version {abbreviate(version)}",
            request.id,
            {"supported": [*supported], "requested": version if isinstance(version, str) else abbreviate(version)},
        )
    if not isinstance(request.meta.get(_CAPABILITIES), dict):
        raise request.invalid(f"_meta has no object {_CAPABILITIES}: a request of {MODERN} must have one")


def legacy_client_of(request: Request) -> Client:
    """Return the program that sent an `initialize`, with the version to speak; its name is empty if it gives none."""
    version = request.params.get("protocolVersion")
    if not isinstance(version, str):
        raise request.invalid(f"protocolVersion is {abbreviate(version)}: it must be a string")
    return _client(request.params.get("clientInfo"), version if version in LEGACY else LEGACY[0])


def modern_client_of(request: Request) -> Client:
    """Return the program that sent a modern request; raises RefusedError for a legacy one."""
    if not request.is_modern:
        raise request.invalid(f"{request.method} needs the fields of _meta that a modern request has")
    return _client(request.meta.get(_CLIENT), MODERN)


def _client(info: Any, protocol: str) -> Client:
    values = info if isinstance(info, dict) else {}
    name, version = values.get("name"), values.get("version")
    return Client(name if isinstance(name, str) else "", version if isinstance(version, str) else "", protocol)


def introduction(client: Client, instructions: str, *, has_channel: bool) -> dict[str, Any]:
    """Return the result of `initialize` or `server/discover`."""
    capabilities: dict[str, Any] = {"tools": {}}
    if has_channel:
        capabilities["experimental"] = {"claude/channel": {}}
    if client.protocol == MODERN:
        # The instructions name the address, which another process does not have.
        return {
            "supportedVersions": [MODERN, *LEGACY],
            "capabilities": capabilities,
            "instructions": instructions,
            **cacheable(0),
        }
    return {
        "protocolVersion": client.protocol,
        "capabilities": capabilities,
        "serverInfo": SERVER,
        "instructions": instructions,
    }


def cacheable(ttl_s: float) -> dict[str, Any]:
    """Return the fields by which a modern client may keep a result."""
    return {"ttlMs": int(ttl_s * 1000), "cacheScope": "private"}


def response(id: Any, result: dict[str, Any], *, is_modern: bool) -> bytes:
    """Return a response as a line, in the envelope of its era."""
    if is_modern:
        meta = {**result.get("_meta", {}), f"{_PREFIX}serverInfo": SERVER}
        result = {"resultType": "complete", **result, "_meta": meta}
    return messages.encode(messages.success(id, result))


def progress_token(request: Request) -> Any | None:
    """Return the token by which the host wants progress, or None."""
    token = request.meta.get("progressToken")
    return token if isinstance(token, str | int) and not isinstance(token, bool) else None
