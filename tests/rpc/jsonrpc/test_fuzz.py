"""Arbitrary bytes written to one server: it responds or closes in time, reveals no internals, and keeps running."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raven_rpc.methods.table import METHODS
from tests.odd_input import BYTES, SECRETS, VALUES
from tests.processes import needs_proc, open_files, resident_mib
from tests.rpc_server import Served
from tests.support import wait_until

pytestmark = pytest.mark.process
Serve = Callable[..., Served]
FEWEST_RUNS = 20  # however slow the machine is
RUN_S = 3.0
# This number of examples takes about that time.
EXAMPLES = {"any bytes": 400, "any JSON": 200, "near requests": 100, "near requests with wrong bytes in them": 100}

NAMES = sorted({field.alias or name for method in METHODS.values()
                for name, field in method.params.model_fields.items()} | {"self", "call", "window"})  # fmt: skip


@st.composite
def near_requests(draw: st.DrawFn) -> Any:
    """Return a request, or almost one: a known method with some of its parameters and arbitrary values."""
    method = draw(st.sampled_from(sorted(METHODS)))
    fields = [field.alias or name for name, field in METHODS[method].params.model_fields.items()]
    known = st.sampled_from(fields) if fields else st.sampled_from(NAMES)
    good: dict[str, Any] = {"from": "a:s", "to": "b:s", "type": "note", "role": "a:s", "id": 1, "as": "a:s", "max": 5}
    params: Any = {name: good[name] for name in fields if name in good and draw(st.booleans())}
    params.update(draw(st.dictionaries(st.one_of(known, st.sampled_from(NAMES)), VALUES, max_size=2)))
    if "timeout_s" in fields:  # no request may wait for longer than this test
        params["timeout_s"] = draw(st.sampled_from([0.001, 0.02, 0, -1, None, "1"] if method == "request" else [0.01]))
    elif draw(st.integers(0, 4)) == 0:
        params = draw(st.one_of(st.just(list(params.values())), VALUES))
    request = {"jsonrpc": "2.0", "method": method, "params": params, "id": draw(st.one_of(st.integers(0, 9), VALUES))}
    for name in draw(st.lists(st.sampled_from(sorted(request)), max_size=1)):
        if draw(st.booleans()):
            del request[name]
        else:
            request[name] = draw(VALUES)
    return request


def lines_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Return some values as lines of JSON, each by itself or in an array."""
    lines = st.one_of(values, st.lists(values, max_size=5)).map(json.dumps)
    return st.lists(lines, min_size=1, max_size=6).map(lambda texts: "\n".join(texts).encode())


CUT = st.tuples(lines_of(near_requests()), st.integers(0, 400), st.binary(max_size=3)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
)
INPUTS = {
    "any bytes": BYTES,
    "any JSON": lines_of(VALUES),
    "near requests": lines_of(near_requests()),
    "near requests with wrong bytes in them": CUT,
}


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def check_answer(text: bytes, secrets: list[str]) -> None:
    """Demand that a line is a response, a batch of responses or a notification, and reveals no internals."""
    answer = json.loads(text, parse_constant=refuse_constant)
    for one in answer if isinstance(answer, list) else [answer]:
        assert one["jsonrpc"] == "2.0"
        assert len({"result", "error", "method"} & set(one)) == 1
        if "error" in one:
            # The error must be the client's: no input may cause an internal error.
            assert one["error"]["code"] not in (-32603, -32000), one
            assert set(one["error"]["data"]) <= {"kind", "retryable", "reason", "fields", "call"}
            text = json.dumps(one["error"])
            assert not [secret for secret in secrets if secret in text], text


def exchange(served: Served, data: bytes, secrets: list[str]) -> None:
    """Write data, half-close, and read up to the end."""
    with served.connect() as line:
        try:
            line.write(data)
            line.half_close()
        except BrokenPipeError:
            pass  # it has closed: its last responses are still to be read
        while (answer := line.read_line()) is not None:
            check_answer(answer, secrets)


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.slow
def test_whatever_is_written_is_answered_or_refused_in_time_and_nothing_leaks(serve: Serve, kind: str) -> None:
    served = serve()
    secrets = [*SECRETS, served.db.removesuffix("bus.db")]
    end = 0.0
    runs = 0

    @settings(max_examples=EXAMPLES[kind], deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(INPUTS[kind])
    def write(data: bytes) -> None:
        nonlocal runs, end
        end = end or time.monotonic() + RUN_S  # from the first on: to make the strategy takes its time, too
        if runs < FEWEST_RUNS or time.monotonic() < end:
            runs += 1
            exchange(served, data, secrets)

    write()

    assert runs >= FEWEST_RUNS
    assert served.process.poll() is None
    assert served.ask("ping") == "pong"
    assert served.ask("stats")["connections"] == 1
    assert "Traceback" not in served.log()


@needs_proc
@pytest.mark.slow
def test_memory_and_descriptors_return_to_where_they_were_after_anything(serve: Serve) -> None:
    served = serve()
    served.ask("stats")  # which opens a connection to the bus of its own
    secrets = [*SECRETS, served.db.removesuffix("bus.db")]
    method = '{"jsonrpc": "2.0", "method": "%s", "params": {"role": "a:s"}, "id": 1}\n'
    odd = [
        b"\xff\n", b"[]", b"[1, 2, 3]", b"{", b"[" * 50_000, b'{"a": 1, "a": 2}\n', b"x" * 500_000,
        json.dumps([{"jsonrpc": "2.0", "method": "ping", "id": 1}] * 2000).encode(),
        *[(method % name).encode() for name in ("subscribe", "tail", "inbox", "claim", "send", "rpc.discover")],
    ]  # fmt: skip

    def round_of_all() -> None:
        for data in odd:
            exchange(served, data, secrets)

    for _ in range(3):
        round_of_all()
    wait_until(lambda: served.ask("stats")["connections"] == 1, "the end of the connections")
    memory, files = resident_mib(served.pid), open_files(served.pid)
    for _ in range(30):
        round_of_all()

    wait_until(lambda: served.ask("stats")["connections"] == 1, "the end of the connections")
    wait_until(lambda: open_files(served.pid) <= files, "its descriptors")
    assert resident_mib(served.pid) < memory + 15
    assert served.ask("stats")["subscriptions"] == 0
