"""Refusal: an answer to a request that was not done; one line of JSON, or a page for a browser."""

from __future__ import annotations

import html
from http import HTTPStatus
from typing import Any

from raven_rpc.jsonrpc.messages import encode

Headers = list[tuple[bytes, bytes]]

# These stand on every answer, and replace the headers of the app. There is never a header of CORS.
SECURITY_HEADERS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
# The kind of each error that HTTP itself knows, by its status.
KINDS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    408: "request_timeout",
    413: "too_large",
    415: "unsupported_media_type",
    421: "misdirected",
    431: "head_too_large",
    500: "internal_error",
    503: "busy",
}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title} - raven</title>
<h1>{title}</h1>
<p>{detail}</p>
"""


def error_line(kind: str, detail: str, **more: Any) -> bytes:
    """Return the body of a refusal: one line of JSON with the kind of the error, and its reason with the remedy."""
    return encode({"error": kind, "detail": detail, **more})


class RefusalError(Exception):
    """A request that the app does not see: the status, the reason with its remedy, and headers of this answer."""

    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def render(self, *, as_page: bool) -> tuple[Headers, bytes]:
        """Return the headers and the body: a page for a browser that shows it to a person, or a JSON line."""
        if as_page:
            title = f"{self.status} {HTTPStatus(self.status).phrase}"
            text = _PAGE.format(title=html.escape(title), detail=html.escape(self.detail))
            body, kind = text.encode("utf-8", "backslashreplace"), b"text/html; charset=utf-8"
        else:
            body, kind = error_line(KINDS.get(self.status, "see_other"), self.detail), b"application/json"
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *self.headers, *SECURITY_HEADERS]
        if as_page:
            headers.append((b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
        return headers, body
