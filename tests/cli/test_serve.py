"""`raven serve` and the commands over its socket, where the extra is not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.shell import DEADLINE_S, Shell
from tests.rpc_server import Served
from tests.support import wait_until

# Stands in for an environment into which only `raven-bus` was installed.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"jsonrpcserver", "oslash"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from raven.cli.main import main
main()
"""


def run_without_extra(shell: Shell, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *arguments],
        capture_output=True, text=True, timeout=DEADLINE_S, cwd=shell.folder, env=shell.environment, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "otherwise"),
    [
        ((), ""),
        (("--as", "worker:s", "--socket", "s.sock"), ""),
        (("--http",), ", or serve HTTP alone with --no-socket"),
    ],
)
def test_serve_without_the_extra_says_how_to_get_it(shell: Shell, options: tuple[str, ...], otherwise: str) -> None:
    done = run_without_extra(shell, "serve", *options)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(f"pip install 'raven-bus[rpc]'{otherwise}\n")
    assert "jsonrpcserver" in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(shell.folder) == ["home"]


def test_commands_over_the_socket_need_no_extra(shell: Shell, serve: Callable[..., Served]) -> None:
    way = ("--socket", serve().path)
    shown = {
        ("send", "--from", "boss:s", "--to", "worker:s", "-t", "note", *way): "sent #1 boss:s -> worker:s type=note\n",
        ("call", "ping"): '"pong"\n',
        ("tail", "--no-follow", *way): "#1 boss:s -> worker:s type=note {}\n",
    }

    for command, printed in shown.items():
        done = run_without_extra(shell, *command)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", printed)


def test_serve_goes_by_the_settings_of_raven_yaml(shell: Shell) -> None:
    (shell.folder / "raven.yaml").write_text("max_attempts: 1\nretention: {max_messages: 3, grace_s: 0}\n")
    process = shell.start("serve")
    try:
        assert process.stdout
        assert process.stdout.readline() == f"listening at {shell.db}.sock\n"
        shell.environment["RAVEN_SOCKET"] = f"{shell.db}.sock"
        shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "note")
        shell.ok("claim", "-a", "worker:s")
        assert shell.ok("nack", "1") == "nacked #1: dead\n"
        shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "note")
        shell.ok("ack", "2")

        many = {"messages": [{"to": "other:s", "type": "note"}] * 100}
        shell.ok("transaction", "-a", "boss:s", stdin=json.dumps({"method": "send_many", "params": many}))
        shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "note")

        wait_until(lambda: shell.run("read", "2").returncode == 4, "the old message to go")
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


def test_the_limits_of_the_server_are_options_and_settings(shell: Shell) -> None:
    (shell.folder / "raven.yaml").write_text("limits: {deliveries: 2}\n")
    for options, limit in (((), 2), (("--limit", "deliveries=3"), 3)):
        process = shell.start("serve", *options)
        try:
            assert process.stdout
            assert process.stdout.readline() == f"listening at {shell.db}.sock\n"
            send = ("send", "--from", "boss:s", "-t", "note", "--socket", f"{shell.db}.sock")
            to = [f"worker-{number}:s" for number in range(limit)]
            shell.ok(*send, *(part for address in to for part in ("--to", address)))
            refused = shell.error(1, *send, *(part for address in [*to, "more:s"] for part in ("--to", address)))
            assert f"`deliveries` of {limit}" in refused
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE_S)

    assert "'nothing=1' is not NAME=N" in shell.error(2, "serve", "--limit", "nothing=1")
    (shell.folder / "raven.yaml").write_text("limits: {deliveries: few}\n")
    assert "deliveries is 'few'" in shell.error(2, "serve")


def test_a_command_keeps_the_bus_within_the_retention_of_raven_yaml(shell: Shell) -> None:
    (shell.folder / "raven.yaml").write_text("retention: {max_messages: 2, grace_s: 0}\n")

    for number in range(1, 6):
        shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "note")
        shell.ok("ack", str(number))

    assert len(shell.ok("tail", "--no-follow").splitlines()) <= 3
