"""rpc/PROTOCOL.md cannot lie: its sessions are run in order on a fresh bus, and its tables held against the code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from raven.host.deferred import MAX_DEFERRED
from raven.host.leases import MAX_REMEMBERED
from raven.host.push import LEASE_S
from raven.host.subscriptions import MAX_SUBSCRIPTIONS
from raven_rpc.jsonrpc import messages
from raven_rpc.jsonrpc.errors import ERROR_CODES, STANDARD
from raven_rpc.methods import params
from raven_rpc.methods.table import METHODS
from raven_rpc.methods.transaction import MAX_CALLS
from raven_rpc.server.connection import MAX_PENDING
from raven_rpc.server.front import MAX_CONNECTIONS
from raven_rpc.server.responses import MAX_RESPONSE
from tests.docs.examples import ROOT, sessions
from tests.rpc_server import Served
from tests.support import DEADLINE_S, needs

DOCUMENT = (ROOT / "rpc" / "PROTOCOL.md").read_text(encoding="utf-8")
# A session that stays connected ends by itself after a second of silence; here it has as long as it needs.
STAYS = "socat -T 1 -,ignoreeof"


def section(title: str) -> str:
    """Return the text below a heading, up to the next of its level or above."""
    level, _, _ = title.partition(" ")
    match = re.search(rf"^{re.escape(title)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", DOCUMENT, re.DOTALL | re.MULTILINE)
    assert match, title
    return match[1]


def without_what_differs(printed: str) -> str:
    """Return an output without times, versions, tokens of leases, and the numbers of `stats`."""
    printed = re.sub(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"', '"TIME"', printed)
    printed = re.sub(r'"version":"[^"]*"', '"version":"VERSION"', printed)
    printed = re.sub(r'"lease":\d+', '"lease":LEASE', printed)
    return re.sub(r"\d+(\.\d+)?", "N", printed) if '"uptime_s"' in printed else printed


def output(command: str, folder: Path, lines: int) -> str:
    """Return the output of a command; of one that stays connected, the first lines."""
    scripts = str(Path(sys.executable).parent)
    process = subprocess.Popen(
        ["bash", "-c", command.replace(STAYS, f"socat -T {DEADLINE_S:g} -,ignoreeof").replace("-t 10", "-t 30")],
        cwd=folder,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    timer = threading.Timer(3 * DEADLINE_S, os.killpg, [process.pid, signal.SIGKILL])
    timer.start()
    try:
        assert process.stdout
        if STAYS not in command:
            return process.communicate()[0]
        printed = "".join(process.stdout.readline() for _ in range(lines))
        os.killpg(process.pid, signal.SIGKILL)
        return printed + process.communicate()[0]
    finally:
        timer.cancel()
        process.wait()


def test_the_sessions_print_what_the_document_shows(serve: Callable[..., Served], tmp_path: Path) -> None:
    needs("socat", "nc", "jq")
    serve()
    serve("--as", "worker:s", socket_path=str(tmp_path / "sandbox.sock"))
    shown = sessions(DOCUMENT)

    assert len(shown) > len(METHODS)
    for command, printed in shown:
        lines = without_what_differs(output(command, tmp_path, len(printed.splitlines()))).splitlines()
        expected = without_what_differs(printed).splitlines()
        # A wait ends at the commit of another call, whose response may come before or after its own.
        in_order = sorted if '"method":"request"' in command else list
        assert in_order(lines) == in_order(expected), command


def test_each_method_has_a_section_in_the_order_of_the_table_of_methods() -> None:
    headings = re.findall(r"^### `(\S+)`$", section("## Methods"), re.MULTILINE)

    assert headings == list(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_the_section_of_a_method_has_a_session_that_calls_it(name: str) -> None:
    commands = re.findall(r"^\$ (.*)$", section(f"### `{name}`"), re.MULTILINE)

    assert any(f'"method":"{name}"' in command for command in commands)


@pytest.mark.parametrize("name", METHODS)
def test_the_section_of_a_method_names_its_parameters_in_their_order_with_their_defaults(name: str) -> None:
    fields = METHODS[name].params.model_fields
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\|([^|]*)\|", section(f"### `{name}`"), re.MULTILINE)

    assert [parameter for parameter, _ in rows] == [field.alias or key for key, field in fields.items()]
    for (parameter, default), field in zip(rows, fields.values(), strict=True):
        shown = default.strip(" `")
        assert (shown == "") == field.is_required(), parameter
        if field.default in (True, False) or isinstance(field.default, str | int):
            assert shown == str(field.default).lower(), parameter


def test_the_table_of_errors_is_complete_and_right() -> None:
    rows = re.findall(r"^\| (-\d+) \| `(\w+)` \| (\w+)", section("## Errors"), re.MULTILINE)

    standard = {(str(code), kind, "no") for code, (kind, _) in STANDARD.items()}
    ours = {(str(entry.code), entry.kind, "yes" if kind.retryable else "no") for kind, entry in ERROR_CODES.items()}
    assert set(rows) == standard | ours
    assert len(rows) == len(set(rows))


def test_the_document_states_the_limits_that_hold() -> None:
    limits = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", section("## Limits"), re.MULTILINE))

    assert limits["a request line"].startswith(f"{messages.MAX_REQUEST // 1024**2} MiB ")
    assert limits["requests of one connection under way"] == f"{MAX_PENDING:,}"
    assert limits["connections"].startswith(f"{MAX_CONNECTIONS:,} ")
    assert limits["subscriptions of a connection"] == f"{MAX_SUBSCRIPTIONS:,}"
    assert limits["requests of a connection that wait (`request`, `wait_receipt`)"] == f"{MAX_DEFERRED:,}"
    assert limits["calls of a `transaction`"] == f"{MAX_CALLS:,}"
    assert f"(the last\n{MAX_REMEMBERED:,})" in section("### `claim`")
    assert limits["`window`"] == f"{params.MAX_WINDOW:,}"
    assert limits["a batch"] == f"{messages.MAX_BATCH:,} requests"
    assert limits["the answer to one line"] == f"{MAX_RESPONSE // 1024**2} MiB"
    assert f"leased for {LEASE_S:g} s" in section("## Subscriptions")


def test_the_links_within_the_document_lead_to_its_headings() -> None:
    headings = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", DOCUMENT, re.MULTILINE)}

    assert set(re.findall(r"\]\(#([^)]+)\)", DOCUMENT)) <= headings
