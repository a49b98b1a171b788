"""Guard: ASGI middleware that refuses a request before any route or any work on the bus.

It stands on the path of every request, so it reads the headers once, and awaits nothing but the app.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import quote

from raven.errors import abbreviate
from raven_http.guard.authority import LOOPBACK, Authorities, Authority
from raven_http.guard.credentials import Credentials
from raven_http.guard.peer import uid_of
from raven_http.guard.refusal import SECURITY_HEADERS, RefusalError
from raven_http.guard.token import check_token

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_WATCHED = frozenset(
    (
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"authorization",
        b"cookie",
        b"content-type",
        b"content-length",
        b"transfer-encoding",
    )
)
_REPLACED = frozenset(name for name, _ in SECURITY_HEADERS)
_OWN_SITES = (b"same-origin", b"none")
_WITHOUT_BODY = ("GET", "HEAD")
_CLOSE = (b"connection", b"close")
_CHALLENGE = (b"www-authenticate", b"Bearer")
# The server reads the rest of a refused body, so that the client gets the answer; after a longer one it hangs up.
_MAX_DROPPED = 64 * 1024 * 1024
_log = logging.getLogger("raven.http")


class Guard:
    """Passes a request to `app` if it comes from the host's own programs or from the server's own page.

    `allowed_hosts` are the values of `Host` that it takes, see Authorities; `token` is the secret that each request but
    `GET /health` must show, None for none. A request may have `max_body_bytes`. With `read_only` no POST is taken.
    `posts` are the first words of the paths that take a POST; a POST to another path is left to the app, which refuses
    it by its method.

    Each answer, also one of the app, has the headers of SECURITY_HEADERS. An exception of the app is logged, and
    answered with 500 without its text.
    """

    def __init__(
        self,
        app: App,
        *,
        allowed_hosts: Iterable[str] = LOOPBACK,
        token: str | None = None,
        max_body_bytes: int = 8 * 1024 * 1024,
        read_only: bool = False,
        posts: Collection[str] | None = None,
    ) -> None:
        if token is not None:
            check_token(token)
        self._app = app
        self._authorities = Authorities(allowed_hosts)
        self._at_port: dict[int | None, Authority] = {}
        self._credentials = None if token is None else Credentials(token)
        self._max_body_bytes = max_body_bytes
        self._read_only = read_only
        self._posts = posts

    def make_code(self) -> str | None:
        """Return a code that stands for the token in the address of the page, once; None if no token is asked for."""
        return None if self._credentials is None else self._credentials.make_code()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await (
                _refuse_websocket(receive, send) if scope["type"] == "websocket" else self._app(scope, receive, send)
            )
            return
        try:
            is_counted = self._check(scope)
        except RefusalError as refusal:
            await _answer(refusal, scope, send)
            return
        exchange = _Exchange(receive, send, self._max_body_bytes)
        try:
            await self._app(scope, exchange.receive if is_counted else receive, exchange.send)
        except Exception as error:
            if exchange.has_started:
                raise
            if not exchange.is_over:
                _log.error("a request failed: %s", abbreviate(error), exc_info=error)
                await _answer(RefusalError(500, "something unforeseen happened: see the server's log"), scope, send)
        if exchange.is_over and not exchange.has_started:
            await _answer(self._too_large(_CLOSE), scope, send)

    def _check(self, scope: Scope) -> bool:
        """Raise RefusalError if the app may not see a request; return whether its body has no length yet."""
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in _WATCHED:
                if name not in headers:
                    headers[name] = value
                elif name == b"cookie":
                    headers[name] += b"; " + value
                else:
                    raise RefusalError(400, f"the header {name.decode('ascii')} stands more than once: send it once")
        server = scope.get("server")
        port = server[1] if server else None
        authority = self._at_port.get(port) or self._authority(port)
        _check_sender(scope, headers, authority)
        path, method = _own_path(scope), scope["method"]
        if self._credentials is not None and not (path == "/health" and method in _WITHOUT_BODY):
            _check_token(self._credentials, scope, headers, authority, path)
        if method in _WITHOUT_BODY and b"content-length" not in headers:
            return b"transfer-encoding" in headers
        if method == "POST":
            self._check_post(path, headers.get(b"content-type", b""))
        return self._check_length(headers)

    def _check_post(self, path: str, kind: bytes) -> None:
        if self._read_only:
            raise RefusalError(403, "this server is read-only: start it without --read-only to write")
        is_json = kind == b"application/json" or kind.partition(b";")[0].strip().lower() == b"application/json"
        if not is_json and (self._posts is None or path[1:].partition("/")[0] in self._posts):
            raise RefusalError(
                415,
                f"the content type {abbreviate(kind.decode('latin-1'))} is not JSON: "
                "send `Content-Type: application/json`",
            )

    def _check_length(self, headers: dict[bytes, bytes]) -> bool:
        """Raise RefusalError if a body is too long; return whether its length is not known yet."""
        length = headers.get(b"content-length")
        if length is None:
            return True
        if b"transfer-encoding" in headers:
            raise RefusalError(400, "the request has both content-length and transfer-encoding: send one", _CLOSE)
        if not length.isdigit():
            problem = f"content-length {abbreviate(length.decode('latin-1'))} is not a number"
            raise RefusalError(400, f"{problem}: send the length of the body in bytes", _CLOSE)
        size = int(length) if len(length) < 20 else _MAX_DROPPED + self._max_body_bytes
        if size > self._max_body_bytes:
            raise self._too_large(*[_CLOSE] if size > _MAX_DROPPED else [])
        return False

    def _too_large(self, *headers: tuple[bytes, bytes]) -> RefusalError:
        return RefusalError(
            413, f"the request is over the limit of {self._max_body_bytes:,} bytes: put less into one message", *headers
        )

    def _authority(self, port: int | None) -> Authority:
        authority = self._at_port[port] = self._authorities.at(port)
        return authority


def _check_sender(scope: Scope, headers: dict[bytes, bytes], authority: Authority) -> None:
    """Raise RefusalError if a request is for another server, or from the page of another one."""
    host = headers.get(b"host")
    origins = authority.origins.get(b"" if host is None else host)
    if origins is None:
        if host is None and scope["http_version"] != "1.0":
            raise RefusalError(400, "the header host is missing: send it")
        host = host or b""
        origins = authority.origins.get(host.lower())
        if origins is None:
            shown = abbreviate(host.decode("latin-1"))
            raise RefusalError(421, f"the host {shown} is not this server's: use {authority.example}")
    origin = headers.get(b"origin")
    if origin is not None and origin not in origins:
        raise RefusalError(
            403,
            f"the origin {abbreviate(origin.decode('latin-1'))} is not this server's: "
            "only its own page may send requests from a browser",
        )
    if headers.get(b"sec-fetch-site", b"none") not in _OWN_SITES:
        raise RefusalError(
            403, "another site has sent this request: type the address of the page into the address bar instead"
        )


def _check_token(
    credentials: Credentials, scope: Scope, headers: dict[bytes, bytes], authority: Authority, path: str
) -> None:
    """Raise RefusalError if a request does not show the token, and as the redirection that sets the page's cookie."""
    query = scope["query_string"]
    user = partial(_user, scope)
    is_right = credentials.of_query(query, user) if query and path in ("", "/") and scope["method"] == "GET" else None
    if is_right:
        root = f"{quote(scope.get('root_path', ''))}/"
        cookie = credentials.set_cookie(authority.cookie, root, user(), secure=scope.get("scheme") == "https")
        detail = "the browser has the page's cookie now: go on without the token"
        raise RefusalError(303, detail, (b"location", root.encode("ascii")), (b"set-cookie", cookie))
    if is_right is False:
        detail = "the token in this address is not the server's: run `raven serve --http --open` for the right one"
        raise RefusalError(401, detail, _CHALLENGE)
    shown = (headers.get(b"authorization"), headers.get(b"cookie"), authority.cookie)
    if not credentials.admit(*shown, user):
        raise RefusalError(
            401,
            "the token is missing or wrong: send `Authorization: Bearer TOKEN` with the text of the file beside the "
            "bus whose name ends in .http-token; to open the page in a browser, run `raven serve --http --open`",
            _CHALLENGE,
        )


def _user(scope: Scope) -> int | None:
    """Return the uid of the client's process, None if it is unknown."""
    return uid_of(scope.get("client"), scope.get("server"))


def _own_path(scope: Scope) -> str:
    """Return the path of a request below the app's mount, as the router sees it."""
    path, root = scope["path"], scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        path = path[len(root) :]
    if path[:1] not in ("", "/"):
        raise RefusalError(400, "the request target is not a path: send one that begins with /")
    return str(path)


class _Exchange:
    """One request that has passed: adds the headers to its answer, and counts a body of unknown length."""

    __slots__ = ("_left", "_receive", "_send", "has_started", "is_over")

    def __init__(self, receive: Receive, send: Send, max_body_bytes: int) -> None:
        self._receive = receive
        self._send = send
        self._left = max_body_bytes
        self.has_started = False
        self.is_over = False

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            if self.is_over:
                return _nothing()
            self.has_started = True
            message["headers"] = [
                header for header in message.get("headers", ()) if header[0] not in _REPLACED
            ] + SECURITY_HEADERS
        elif self.is_over and not self.has_started:
            return _nothing()
        return self._send(message)

    async def receive(self) -> Message:
        """Return the next part of the body; a disconnection if the body is over the limit."""
        if not self.is_over:
            message = await self._receive()
            self._left -= len(message.get("body") or b"")
            if self._left >= 0:
                return message
            self.is_over = True
        return {"type": "http.disconnect"}


async def _nothing() -> None:
    """Send no part of an answer that the guard gives instead of the app."""


async def _answer(refusal: RefusalError, scope: Scope, send: Send) -> None:
    """Send a refusal: as a page if a browser would show it, as JSON otherwise."""
    accepts = (value for name, value in scope["headers"] if name == b"accept")
    as_page = scope["method"] in _WITHOUT_BODY and any(b"text/html" in value for value in accepts)
    headers, body = refusal.render(as_page=as_page)
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1008, "reason": "this server has no websockets"})
