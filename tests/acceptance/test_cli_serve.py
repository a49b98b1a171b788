"""`raven serve` and the commands over its socket, where the extra is not installed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.acceptance.shell import DEADLINE_S, Shell
from tests.serving import Served

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


@pytest.mark.parametrize("options", [(), ("--as", "worker:s", "--socket", "s.sock")])
def test_serve_without_the_extra_says_how_to_get_it(shell: Shell, options: tuple[str, ...]) -> None:
    done = run_without_extra(shell, "serve", *options)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith("pip install 'raven-bus[rpc]'\n")
    assert "jsonrpcserver" in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(shell.folder) == ["home"]


def test_commands_over_the_socket_need_no_extra(shell: Shell) -> None:
    served = Served(shell.db)
    try:
        arguments = ("send", "--from", "boss:s", "--to", "worker:s", "-t", "note", "--socket", served.path)
        for number, command in enumerate(
            [arguments, ("call", "ping"), ("tail", "--no-follow", "--socket", served.path)]
        ):
            done = run_without_extra(shell, *command)

            assert (done.returncode, done.stderr) == (0, "")
            assert (
                done.stdout
                == ("sent #1 boss:s -> worker:s type=note\n", '"pong"\n', "#1 boss:s -> worker:s type=note {}\n")[
                    number
                ]
            )
    finally:
        served.close()
