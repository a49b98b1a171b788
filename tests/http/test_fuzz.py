"""Arbitrary bytes, heads, queries and bodies sent to a bridge: it answers, reveals no internals, and goes on."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raven_http.api.table import ROUTES, Route
from scripts.harness.served import Served
from tests.http_front import FrontHere, Wire
from tests.odd_input import BYTES, SECRETS, TEXTS, VALUES
from tests.processes import needs_proc, open_files, resident_mib

FEWEST_RUNS = 20  # however slow the machine is
RUN_S = 3.0
EXAMPLES = 1000
# Errors of HTTP clients, and refusals for now. The bridge itself may not fail.
STATUSES = {100, 200, 400, 403, 404, 405, 408, 409, 413, 415, 421, 422, 429, 431}
GOOD: dict[str, Any] = {"from": "a:s", "to": "b:s", "type": "note", "role": "a:s", "max": 5}
NAMES = sorted({name for route in ROUTES for name in route.names} | {"self", "id", "token", ""})
JSON_TEXTS = [
    b"", b"{", b"[]", b"1", b"NaN", b"\xff", b"\xef\xbb\xbf{}", b"{}\0", b"[" * 100_000, b"9" * 10_000,
    b'{"a":' * 50_000,
    b'{"to":"b:s","to":"b:s"}', b'{"role":"a:s","max":' + b"9" * 5000 + b"}", '{"from":"a:s"}'.encode("utf-16"),
    *(b'{"from":"a:s","to":"b:s","type":"x","body":%b}' % body for body in (
        b"NaN", b"-Infinity", b"1e999", b"1" + b"0" * 5000, b'"\\ud800"', b'{"\\ud800":1}', b'"\\u0000"', b"01", b"'a'",
        b"[" * 500 + b"]" * 500, b"[" + b"1," * 100_000 + b"1]", b'{"a":1,"a":2}', b"\xed\xa0\x80", b'"\x1f"')),
]  # fmt: skip
HEADERS = [
    "Connection: close", "Connection: upgrade\r\nUpgrade: websocket", "Upgrade: h2c", "Accept: text/html",
    "Cookie: " + "x=y;" * 200, "X: " + "y" * 60_000, "Range: bytes=0-1", "Content-Encoding: gzip", "Origin: null",
    "Authorization: Bearer \xff", "Sec-Fetch-Site: same-site", "Content-Length: 1", "Transfer-Encoding: chunked",
    "Host: evil", "Expect: 100-continue", "Last-Event-ID: \xff", "X-Forwarded-Host: evil", "X:", ": x", "X : y",
    " fold", "TE: trailers",
]  # fmt: skip


def encoded(value: Any) -> str:
    """Return a value as it may stand in a target: escaped, or with the bytes that a target may hold as they are."""
    text = value if isinstance(value, str) else json.dumps(value)
    return quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe="/:%&=?#+,[]")


@st.composite
def bodies(draw: st.DrawFn, route: Route) -> bytes:
    """Return the parameters of a route, or almost, as JSON or almost."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(JSON_TEXTS))
    params = {name: GOOD[name] for name in route.names if name in GOOD and draw(st.integers(0, 9))}
    known = st.sampled_from(route.names or NAMES)
    params.update(draw(st.dictionaries(st.one_of(known, st.sampled_from(NAMES), TEXTS), VALUES, max_size=2)))
    text = json.dumps(params).encode()
    return text if draw(st.integers(0, 4)) else text[: draw(st.integers(0, 60))] + draw(BYTES)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return a request to a route, or almost one."""
    route = draw(st.sampled_from(ROUTES))
    ids = st.one_of(st.sampled_from(["1", "0", "-1", "9" * 30, "%31", "1%00", "..%2f", "٣", ""]), TEXTS)
    path = route.path.replace("{id}", encoded(draw(ids)))
    body, lines = b"", ["Host: {host}"]
    if route.is_write:
        body = draw(bodies(route))
        lines.append("Content-Type: application/json")
        if draw(st.booleans()):
            lines.append(f"Content-Length: {len(body)}")
        else:
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    else:
        query = {name: GOOD[name] for name in route.names if name in GOOD and draw(st.integers(0, 9))}
        query.update(draw(st.dictionaries(st.sampled_from([*route.names, *NAMES]), VALUES, max_size=2)))
        path += "?" * bool(query) + "&".join(f"{quote(name)}={encoded(value)}" for name, value in query.items())
    verb = draw(st.sampled_from([route.verb] * 9 + ["HEAD", "PUT", "OPTIONS", "TRACE", "get", "FOO"]))
    lines += draw(st.lists(st.sampled_from(HEADERS), max_size=2)) if not draw(st.integers(0, 3)) else []
    head = "\r\n".join([f"{verb} {path} HTTP/1.{draw(st.sampled_from([1, 1, 1, 0]))}", *lines, "", ""])
    return head.encode("latin-1") + body


@st.composite
def cut(draw: st.DrawFn) -> bytes:
    """Return a request with wrong bytes in it, or without its end, or several."""
    text = draw(requests())
    at = draw(st.integers(0, min(len(text), 400)))
    return draw(st.sampled_from([text[:at], text[:at] + draw(BYTES) + text[at:], text[:at] + text, text + text]))


INPUTS = {"any bytes": BYTES, "near requests": requests(), "near requests with wrong bytes in them": cut()}


def exchange(address: str, data: bytes, secrets: list[str]) -> None:
    """Send data, write no more, and check all answers up to the end of the connection."""
    with Wire(address) as wire:
        with suppress(OSError):  # it has closed: its last answers are still to be read
            wire.write(data.replace(b"{host}", wire.host.encode()))
            wire.socket.shutdown(socket.SHUT_WR)
        answer = wire.rest()
        for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer):
            assert int(status) in STATUSES, answer
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        text = answer.decode("latin-1")
        assert not [secret for secret in secrets if secret in text], text


@pytest.fixture
def served(db: str) -> Iterator[FrontHere]:
    served = FrontHere(db)
    yield served
    served.close()


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.slow
def test_whatever_is_sent_is_answered_or_refused_in_time_and_nothing_leaks(
    served: FrontHere, kind: str, db: str, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = [*SECRETS, db.removesuffix("bus.db")]
    end, runs = 0.0, 0

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(INPUTS[kind])
    def send(data: bytes) -> None:
        nonlocal runs, end
        end = end or time.monotonic() + RUN_S  # from the first on: to make the strategy takes its time, too
        if runs < FEWEST_RUNS or time.monotonic() < end:
            runs += 1
            exchange(served.front.address, data, secrets)

    send()

    assert runs >= FEWEST_RUNS
    with served.connect() as wire:
        assert wire.ask("/health").status == 200
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://{host}/health", 200),
        ("HTTP://{host}/health", 200),
        ("http://evil.example/health", 421),
        ("http://me@{host}/health", 421),
        ("http://{host}", 400),
    ],
)
def test_the_host_in_a_target_counts_and_that_of_the_header_does_not(
    served: FrontHere, target: str, expected: int
) -> None:
    for header in ("Host: {host}", "Host: other.example"):
        with served.connect() as wire:
            wire.write(f"GET {target} HTTP/1.1\r\n{header}\r\n\r\n".replace("{host}", wire.host).encode())
            answer = wire.answer()
            assert answer is not None
            assert answer.status == expected


@needs_proc
@pytest.mark.process
@pytest.mark.slow
def test_memory_and_descriptors_return_to_where_they_were_after_anything(db: str) -> None:
    secrets = [*SECRETS, db.removesuffix("bus.db")]
    head = b"POST /send HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    odd = [
        b"\xff" * 100_000, b"GET /" + b"x" * 100_000, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
        b"".join(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in JSON_TEXTS),
        *(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in JSON_TEXTS),
        head + b"Content-Length: 8000000\r\n\r\n" + b"[" * 8_000_000,
        head + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 0x10000 + b"\r\n" * 200,
        head + b"Content-Length: 999999999\r\n\r\n" + b"x" * 1_000_000,
        head + b"Content-Length: 1000\r\n\r\nhalf",
    ]  # fmt: skip

    with Served(db, None, "--http", f"unix:{db}.http") as served:

        def round_of_all() -> None:
            for data in odd:
                exchange(f"unix:{db}.http", data, secrets)

        def least_memory(rounds: int) -> float:
            """Return the least that the server held: Python 3.13 frees the texts of some rounds at once."""
            sizes = []
            for _ in range(rounds):
                round_of_all()
                sizes.append(resident_mib(served.pid))
            return min(sizes)

        least_memory(3)
        memory, descriptors = least_memory(20), open_files(served.pid)

        assert least_memory(20) < memory + 24
        assert open_files(served.pid) <= descriptors
        assert served.ask("ping") == "pong"
        assert "Traceback" not in served.log()
