"""The guard in front of a real server: which requests reach the app, and what all others are told."""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raven_http.guard.guard import Guard
from raven_http.guard.refusal import SECURITY_HEADERS
from scripts.harness.deadline import DEADLINE_S
from tests.http_bridge import BridgeHere

TOKEN = "t0ken-of-the-tests"
BEARER = f"Authorization: Bearer {TOKEN}"
JSON = "Content-Type: application/json"
HOST = "Host: 127.0.0.1:{port}"
PAGE = "Accept: text/html,*/*"
MAX_BODY = 1000


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the method, the path and the size of the body; `/fault` fails, `/late` after it has begun."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RuntimeError("the client is gone")
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] == "/fault":
        raise RuntimeError("/secret/path")
    body = f"{scope['method']} {scope['path']} {size}".encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"cache-control", b"public"), (b"x-own", b"yes")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class Served(BridgeHere):
    """A server that has the guard in front of `app`, and a client that sends requests as they are written."""

    def __init__(self, db: str, **settings: Any) -> None:
        super().__init__(db, app=Guard(app, token=TOKEN, max_body_bytes=MAX_BODY, posts={"send", "fault"}, **settings))

    def ask(self, line: str, *headers: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Send a request as it is written, with the port for `{port}`; return status, headers and body."""
        head = "\r\n".join([line, *headers]).replace("{port}", str(self.port))
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE_S) as client:
            client.sendall(head.encode("latin-1") + b"\r\n\r\n" + body)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += client.recv(65536)
            top, _, content = answer.partition(b"\r\n\r\n")
            first, *lines = top.decode("latin-1").split("\r\n")
            fields = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
            length = 0 if line.startswith("HEAD") else int(fields.get("content-length", 0))
            while len(content) < length:
                content += client.recv(65536)
        return int(first.split()[1]), fields, content


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(str(tmp_path_factory.mktemp("guard") / "bus.db"))
    yield served
    served.close()


def status(served: Served, line: str, *headers: str, body: bytes = b"") -> int:
    return served.ask(line, *headers, body=body)[0]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LocalHost:{port}", 200),
        ("[::1]:{port}", 200),
        ("127.0.0.1", 421),
        ("127.0.0.1:", 421),
        ("127.0.0.1:1", 421),
        ("127.0.0.1:0{port}", 421),
        ("localhost.:{port}", 421),
        ("127.0.0.1:{port}.evil", 421),
        ("127.0.0.1:{port}@evil", 421),
        ("me@127.0.0.1:{port}", 421),
        ("127.0.0.1:{port}, evil", 421),
        ("evil.example:{port}", 421),
        ("127.1:{port}", 421),
        ("2130706433:{port}", 421),
        ("[0:0:0:0:0:0:0:1]:{port}", 421),
        ("[::ffff:127.0.0.1]:{port}", 421),
        ("0.0.0.0:{port}", 421),
        ("localhost:{port}\xe9", 421),
        ("", 421),
    ],
)
def test_only_the_servers_own_names_at_its_own_port_are_answered(served: Served, host: str, expected: int) -> None:
    for path in ("/health", "/send", "/nothing-here"):
        assert status(served, f"GET {path} HTTP/1.1", f"Host: {host}", BEARER) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], 200),
        (["X-Forwarded-Host: evil.example", "X-Forwarded-For: 6.6.6.6", "Forwarded: host=evil.example"], 200),
        (["Origin: http://127.0.0.1:{port}"], 200),
        (["Origin: http://127.0.0.1:{port}", "Sec-Fetch-Site: same-origin"], 200),
        (["Sec-Fetch-Site: none"], 200),
        (["Origin: null"], 403),
        (["Origin: "], 403),
        (["Origin: http://localhost:{port}"], 403),  # another origin than that of the Host
        (["Origin: http://127.0.0.1:1"], 403),
        (["Origin: http://127.0.0.1"], 403),
        (["Origin: http://127.0.0.1:{port}.evil.example"], 403),
        (["Origin: http://127.0.0.1:{port}/"], 403),
        (["Origin: chrome-extension://abcdefgh"], 403),
        (["Origin: http://127.0.0.1:{port}", "Origin: http://127.0.0.1:{port}"], 400),
        (["Sec-Fetch-Site: same-site"], 403),  # a server at another port of the same host
        (["Sec-Fetch-Site: cross-site"], 403),
        (["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", PAGE], 403),
        (["Sec-Fetch-Site: None"], 403),
        (["Sec-Fetch-Site: "], 403),
        (["Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"], 400),
    ],
)
def test_a_request_from_another_site_is_refused(served: Served, headers: list[str], expected: int) -> None:
    post = [HOST, BEARER, JSON, "Content-Length: 2", *headers]

    for path in ("/", "/health", "/send"):
        assert status(served, f"GET {path} HTTP/1.1", HOST, BEARER, *headers) == expected
    assert status(served, "POST /send HTTP/1.1", *post, body=b"{}") == expected
    preflight = served.ask("OPTIONS /send HTTP/1.1", HOST, BEARER, "Access-Control-Request-Method: POST", *headers)
    assert preflight[0] == expected
    assert not [name for name in preflight[1] if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([BEARER], 200),
        ([f"Authorization: bearer {TOKEN}"], 200),
        ([f"authorization: BEARER   {TOKEN}  "], 200),
        ([], 401),
        ([f"Authorization: Bearer {TOKEN}x"], 401),
        ([f"Authorization: Bearer {TOKEN[:-1]}"], 401),
        ([f"Authorization: Bearer{TOKEN}"], 401),
        ([f"Authorization: Bearer {TOKEN.upper()}"], 401),
        ([f"Authorization: Bearer {TOKEN}, Bearer {TOKEN}"], 401),
        ([f"Authorization: Basic {TOKEN}"], 401),
        ([f"Authorization: {TOKEN}"], 401),
        (["Authorization: "], 401),
        (["Authorization: Bearer "], 401),
        ([f"Authorization: Bearer {TOKEN}\xe9"], 401),
        (["Authorization: Bearer " + "x" * 30_000], 401),
        ([BEARER, "Authorization: Bearer x"], 400),
        (["Cookie: raven-token-{port}={cookie}"], 200),
        (["Cookie: a=b; raven-token-{port}={cookie};c=d"], 200),
        (["Cookie: raven-token-{port}=stale; raven-token-{port}={cookie}"], 200),
        (["Cookie: a=b", "Cookie: raven-token-{port}={cookie}"], 200),
        (["Cookie: raven-token-1={cookie}"], 401),
        (["Cookie: Raven-Token-{port}={cookie}"], 401),
        (["Cookie: x-raven-token-{port}={cookie}"], 401),
        (["Cookie: raven-token-{port}=" + TOKEN], 401),
        (["Cookie: raven-token-{port}"], 401),
        (["Cookie: raven-token-{port}=\xe9"], 401),
        (["Cookie: " + "raven-token-{port}=x; " * 500], 401),
        (["Cookie: raven-token-{port}={cookie}", "Authorization: Bearer x"], 401),
    ],
)
def test_a_request_shows_the_token_as_bearer_or_as_cookie(served: Served, headers: list[str], expected: int) -> None:
    cookie = log_in(served)
    headers = [header.replace("{cookie}", cookie.partition("=")[2]) for header in headers]

    for line in ("GET /send HTTP/1.1", "GET /nothing?token=t0ken-of-the-tests HTTP/1.1", "DELETE / HTTP/1.1"):
        code, fields, _ = served.ask(line, HOST, *headers)
        assert code == expected
        assert (fields.get("www-authenticate") == "Bearer") == (expected == 401)
    assert status(served, "GET /health HTTP/1.1", HOST, *headers) == (400 if expected == 400 else 200)
    assert status(served, "POST /health HTTP/1.1", HOST, "Content-Length: 0", *headers) == expected
    assert status(served, "GET /%68ealth HTTP/1.1", HOST) == 200  # the router sees the same path
    for path in ("//health", "/health/", "/health/..", "/HEALTH", "/health%00", "/send/%2e%2e/health"):
        assert status(served, f"GET {path} HTTP/1.1", HOST, *headers) == expected


def log_in(served: Served) -> str:
    code, fields, _ = served.ask(f"GET /?a=b&token={TOKEN} HTTP/1.1", HOST, PAGE)
    assert code == 303
    assert fields["location"] == "/"
    cookie, _, attributes = fields["set-cookie"].partition("; ")
    assert attributes == "Path=/; HttpOnly; SameSite=Strict"
    assert re.fullmatch(f"raven-token-{served.port}=[0-9a-f]{{64}}", cookie)
    assert TOKEN not in str(fields)
    return cookie


@pytest.mark.parametrize(
    "line",
    [
        "GET /?token=wrong HTTP/1.1",
        "GET /?token= HTTP/1.1",
        f"GET /?token={TOKEN}&token={TOKEN} HTTP/1.1",
        f"GET /?Token={TOKEN} HTTP/1.1",
        f"GET /?token={TOKEN}%00 HTTP/1.1",
        f"GET /inbox?token={TOKEN} HTTP/1.1",
        f"HEAD /?token={TOKEN} HTTP/1.1",
        f"POST /?token={TOKEN} HTTP/1.1",
    ],
)
def test_no_other_address_than_that_of_the_page_gives_a_cookie(served: Served, line: str) -> None:
    code, fields, body = served.ask(line, HOST, PAGE)

    assert code == 401
    assert "set-cookie" not in fields
    assert TOKEN not in f"{fields}{body!r}"


def test_a_login_from_another_site_gives_no_cookie(served: Served) -> None:
    code, fields, _ = served.ask(f"GET /?token={TOKEN} HTTP/1.1", HOST, PAGE, "Sec-Fetch-Site: cross-site")

    assert (code, "set-cookie" in fields) == (403, False)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("line", "headers", "body", "expected"),
    [
        ("POST /send HTTP/1.1", [JSON, "Content-Length: 2"], b"{}", 200),
        ("POST /send HTTP/1.1", ["Content-Type: Application/JSON ; charset=utf-8", "Content-Length: 2"], b"{}", 200),
        ("POST /send HTTP/1.1", ["Content-Length: 2"], b"{}", 415),
        ("POST /send HTTP/1.1", [], b"", 415),
        ("POST /send/1 HTTP/1.1", ["Content-Type: text/plain", "Content-Length: 2"], b"{}", 415),
        ("POST /send HTTP/1.1", ["Content-Type: application/json-patch+json"], b"", 415),
        ("POST /send HTTP/1.1", ["Content-Type: text/plain;application/json"], b"", 415),
        ("POST /send HTTP/1.1", [JSON, JSON], b"", 400),
        ("POST /inbox HTTP/1.1", ["Content-Length: 2"], b"{}", 200),  # the app refuses it by its method
        ("POST /send HTTP/1.1", [JSON, f"Content-Length: {MAX_BODY}"], b"x" * MAX_BODY, 200),
        ("POST /send HTTP/1.1", [JSON, f"Content-Length: {MAX_BODY + 1}"], b"x" * (MAX_BODY + 1), 413),
        ("POST /send HTTP/1.1", [JSON, "Content-Length: 999999999999"], b"", 413),
        ("POST /inbox HTTP/1.1", ["Content-Length: 999999"], b"", 413),
        ("GET /inbox HTTP/1.1", ["Content-Length: 999999"], b"", 413),
        ("PUT /send HTTP/1.1", ["Content-Length: 999999"], b"", 413),
        ("POST /send HTTP/1.1", [JSON, CHUNKED], chunked(b"x" * MAX_BODY), 200),
        ("POST /send HTTP/1.1", [JSON, CHUNKED], chunked(b"x" * MAX_BODY, b"x"), 413),
        ("POST /send HTTP/1.1", [JSON, CHUNKED], chunked(b"x" * MAX_BODY, b"x")[:-5], 413),  # it goes on for ever
        ("GET /send HTTP/1.1", [CHUNKED], chunked(b"x" * 2 * MAX_BODY), 413),
        ("POST /fault HTTP/1.1", [JSON, CHUNKED], chunked(b"x" * 2 * MAX_BODY), 413),
        ("HEAD /send HTTP/1.1", [], b"", 200),
        ("TRACE /send HTTP/1.1", [], b"", 200),  # for the app to refuse, as any other method
    ],
)
def test_a_body_is_json_and_within_the_limit(
    served: Served, line: str, headers: list[str], body: bytes, expected: int
) -> None:
    code, fields, content = served.ask(line, HOST, BEARER, *headers, body=body)

    assert code == expected
    if expected == 413 and ("999999999999" in str(headers) or CHUNKED in headers):
        assert fields["connection"] == "close"
    assert status(served, line, HOST, *headers, body=body) == (400 if expected == 400 else 401)
    assert b"over the limit of 1,000 bytes" in content or expected != 413


@pytest.mark.parametrize(
    ("line", "headers", "expected"),
    [
        ("GET /health HTTP/1.0", [], 421),
        ("GET /health HTTP/1.0", [HOST], 200),
        ("GET /health HTTP/1.1", [], 400),
        ("GET /health HTTP/1.1", [HOST, HOST], 400),
        ("OPTIONS * HTTP/1.1", [HOST, BEARER], 400),
        ("CONNECT evil.example:443 HTTP/1.1", [HOST, BEARER], 400),
        ("POST /send HTTP/1.1", [HOST, BEARER, JSON, CHUNKED, "Content-Length: 5"], 400),
        ("POST /send HTTP/1.1", [HOST, BEARER, JSON, "Content-Length: +5"], 400),
        ("POST /send HTTP/1.1", [HOST, BEARER, JSON, "Content-Length: 5", "Content-Length: 6"], 400),
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused(
    served: Served, line: str, headers: list[str], expected: int
) -> None:
    assert status(served, line, *headers, body=b"0\r\n\r\n" if "CONNECT" not in line else b"") == expected


@pytest.mark.parametrize(
    ("line", "headers", "code", "kind", "words"),
    [
        ("GET / HTTP/1.1", ["Host: <evil>"], 421, "misdirected", "'<evil>' is not this server's: use http://"),
        ("GET / HTTP/1.1", [HOST, "Origin: http://evil"], 403, "forbidden", "'http://evil' is not this server's"),
        ("GET / HTTP/1.1", [HOST, "Sec-Fetch-Site: cross-site"], 403, "forbidden", "into the address bar"),
        ("GET / HTTP/1.1", [HOST], 401, "unauthorized", "run `raven serve --http --open`"),
        ("POST /send HTTP/1.1", [HOST, BEARER], 415, "unsupported_media_type", "send `Content-Type: application/json`"),
        ("GET /fault HTTP/1.1", [HOST, BEARER], 500, "internal_error", "see the server's log"),
    ],
)
def test_a_refusal_is_one_line_of_json_or_a_page_and_has_the_headers_of_all_answers(
    served: Served, line: str, headers: list[str], code: int, kind: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL):
        answer, fields, body = served.ask(line, *headers)
        page_code, page_fields, page = served.ask(line, *headers, PAGE)

    assert (answer, page_code) == (code, code)
    assert body.count(b"\n") == 1
    assert body.startswith(b'{"error":"%b","detail":"' % kind.encode())
    assert words in json.loads(body)["detail"]
    if line.startswith("GET"):
        assert page_fields["content-type"] == "text/html; charset=utf-8"
        assert page_fields["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert f"<h1>{code} ".encode() in page
        assert b"<evil>" not in page
    for found in (fields, page_fields):
        assert found.items() >= {name.decode(): value.decode() for name, value in SECURITY_HEADERS}.items()
    assert b"secret" not in body + page


def test_an_answer_of_the_app_keeps_its_headers_but_for_those_of_the_guard(served: Served) -> None:
    code, fields, _ = served.ask("GET /send HTTP/1.1", HOST, BEARER)

    assert (code, fields["x-own"], fields["cache-control"]) == (200, "yes", "no-store")
    assert served.ask("HEAD / HTTP/1.1", HOST)[2] == b""


def test_a_server_that_only_reads_takes_no_post(tmp_path: Path) -> None:
    served = Served(str(tmp_path / "bus.db"), read_only=True)
    try:
        assert status(served, "POST /send HTTP/1.1", HOST, BEARER, JSON, "Content-Length: 2", body=b"{}") == 403
        assert status(served, "POST /nothing HTTP/1.1", HOST, BEARER) == 403
        assert status(served, "GET /send HTTP/1.1", HOST, BEARER) == 200
    finally:
        served.close()
