"""Credentials: how a request shows the token: as `Authorization: Bearer`, or as the cookie of the page."""

from __future__ import annotations

import hmac
import os
import secrets
import time
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import unquote_to_bytes

# The browser that a server opens must show its code within this time.
_CODE_S = 120.0


class Credentials:
    """The token of a server, in the two forms that a request may show.

    The cookie holds a value derived from the token and from the user who has shown it, so that the token itself stands
    in no store of a browser. A browser sends its cookies for 127.0.0.1 to each port there, also to a server of another
    user of the host. So the cookie of one user counts for no process of another. All comparisons take the same time for
    every wrong value of one length.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode("ascii")
        self._header = b"Bearer " + self._token
        self._code: bytes | None = None
        self._code_ends_at = 0.0
        self._cookie_of = lru_cache(maxsize=64)(self._make_cookie)

    def admit(
        self, authorization: bytes | None, cookies: bytes | None, name: bytes, user: Callable[[], int | None]
    ) -> bool:
        """Whether a request shows the token; `name` is the cookie's name and "=", and `user` finds the client's uid.

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
        if not values:
            return False
        cookie = self._cookie_of(user())
        return any(hmac.compare_digest(value, cookie) for value in values)

    def make_code(self) -> str:
        """Return a code that stands for the token in one query, within two minutes; an earlier one counts no more.

        Every user of the host can read the arguments of a browser's process, and so a token among them. The code counts
        for the server's own user alone, as far as the kernel tells the user.
        """
        code = secrets.token_hex(32)
        self._code = code.encode("ascii")
        self._code_ends_at = time.monotonic() + _CODE_S
        return code

    def of_query(self, query: bytes, user: Callable[[], int | None]) -> bool | None:
        """Whether the parameter `token` of a query is the token, or the code; None if there is no such parameter."""
        values = [part[6:] for part in query.split(b"&") if part.startswith(b"token=")]
        if not values:
            return None
        shown = unquote_to_bytes(values[0])
        return len(values) == 1 and (hmac.compare_digest(shown, self._token) or self._takes_code(shown, user))

    def set_cookie(self, name: bytes, path: str, user: int | None, *, secure: bool) -> bytes:
        """Return the value of `Set-Cookie`: for this user of this host, out of reach of scripts and of other sites."""
        where = "".join(character for character in path if "!" <= character <= "~" and character not in ';,"\\')
        attributes = f"; Path={where}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"
        return name + self._cookie_of(user) + attributes.encode("ascii")

    def _takes_code(self, shown: bytes, user: Callable[[], int | None]) -> bool:
        if self._code is None or not hmac.compare_digest(shown, self._code) or user() not in (None, os.geteuid()):
            return False
        self._code = None
        return time.monotonic() < self._code_ends_at

    def _make_cookie(self, user: int | None) -> bytes:
        content = f"the cookie of raven's page, for user {user}".encode("ascii")
        return hmac.new(self._token, content, "sha256").hexdigest().encode("ascii")

    def _is_bearer(self, authorization: bytes) -> bool:
        if hmac.compare_digest(authorization, self._header):
            return True
        scheme, _, token = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(b" \t"), self._token)
