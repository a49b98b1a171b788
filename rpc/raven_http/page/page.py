"""Page: the files of the live page, each an ASGI program that serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from importlib.resources import files
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
# The page loads nothing but its own files, sends nothing but to its own server, and makes no element from a text.
CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; "
    b"frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


class PageFile:
    """One file of the page: answers GET and HEAD with its bytes, which no cache keeps."""

    def __init__(self, content: bytes, content_type: bytes) -> None:
        self.content = content
        self._headers = [
            (b"content-type", content_type),
            (b"content-length", b"%d" % len(content)),
            (b"content-security-policy", CONTENT_SECURITY_POLICY),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else self.content})


def page_files() -> dict[str, PageFile]:
    """Return the program of each file by its path; `/` is the page, whose links are relative to it."""
    served = {}
    for file in files(__package__).joinpath("static").iterdir():
        path = "/" if file.name == "index.html" else f"/{file.name}"
        served[path] = PageFile(file.read_bytes(), _TYPES[file.name[file.name.rindex(".") :]])
    return served
