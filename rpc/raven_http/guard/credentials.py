"""Credentials: how a request shows the token: as `Authorization: Bearer`, or as the cookie of the page."""

from __future__ import annotations

import hmac
from urllib.parse import unquote_to_bytes


class Credentials:
    """The token of a server, in the two forms that a request may show.

    The cookie holds a value derived from the token, so that the token itself stands in no store of a browser. All
    comparisons take the same time for every wrong value of one length.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode("ascii")
        self._header = b"Bearer " + self._token
        self._cookie = hmac.new(self._token, b"the cookie of raven's page", "sha256").hexdigest().encode("ascii")

    def admit(self, authorization: bytes | None, cookies: bytes | None, name: bytes) -> bool:
        """Whether a request shows the token; `name` is the cookie's name and "=".

        A wrong `Authorization` is not made good by a cookie. Of several cookies of the name one must be right: a
        browser sends all that it has for the host, whatever their paths.
        """
        if authorization is not None:
            return self._is_bearer(authorization)
        if cookies is None:
            return False
        values = [
            part.strip(b" \t")[len(name) :] for part in cookies.split(b";") if part.strip(b" \t").startswith(name)
        ]
        return any(hmac.compare_digest(value, self._cookie) for value in values)

    def of_query(self, query: bytes) -> bool | None:
        """Whether the parameter `token` of a query is the token; None if there is no such parameter."""
        values = [part[6:] for part in query.split(b"&") if part.startswith(b"token=")]
        if not values:
            return None
        return len(values) == 1 and hmac.compare_digest(unquote_to_bytes(values[0]), self._token)

    def set_cookie(self, name: bytes, path: str, *, secure: bool) -> bytes:
        """Return the value of `Set-Cookie`: for this host alone, out of reach of scripts and of other sites."""
        where = "".join(character for character in path if "!" <= character <= "~" and character not in ';,"\\')
        attributes = f"; Path={where}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"
        return name + self._cookie + attributes.encode("ascii")

    def _is_bearer(self, authorization: bytes) -> bool:
        if hmac.compare_digest(authorization, self._header):
            return True
        scheme, _, token = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(b" \t"), self._token)
