"""The systemd units start the server with options that it has, at the sockets that they make."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.failed_start import environment, serve_command
from tests.rpc_server import Line
from tests.support import DEADLINE_S, PROGRAMS

ROOT = Path(__file__).parents[3]
UNITS = ROOT / "rpc" / "systemd"
PAIRS = ["raven", "raven-bound@"]
INSTANCE = "worker:swarm-1"


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None, delimiters="=", comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((UNITS / name).read_text())
    return parser


def options(name: str) -> list[str]:
    """Return the arguments that a service passes to `raven serve`."""
    program, command, *arguments = shlex.split(unit(f"{name}.service")["Service"]["ExecStart"])
    assert (program, command) == ("%h/.local/bin/raven", "serve")
    return arguments


def filled_in(text: str, home: Path) -> str:
    return text.replace("%h", str(home)).replace("%i", INSTANCE)


@pytest.fixture
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Start a pair of units as systemd does; returns the path of the socket."""
    path = filled_in(unit(f"{request.param}.socket")["Socket"]["ListenStream"], tmp_path)
    os.makedirs(os.path.dirname(path))
    arguments = [filled_in(option, tmp_path) for option in options(request.param)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as passed:
        passed.bind(path)
        passed.listen()
        process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "activated.py"), str(passed.fileno()), "1", "own", *arguments],
            pass_fds=[passed.fileno()],
            stdout=subprocess.DEVNULL,
            env=environment(),
        )
        yield path
        process.kill()
        process.wait(DEADLINE_S)


@pytest.mark.parametrize("served", ["raven"], indirect=True)
def test_the_service_serves_the_default_bus_to_any_client(served: str, tmp_path: Path) -> None:
    with Line(served) as line:
        line.ask("send", {"from": "boss:s", "to": "worker:s", "type": "note"})

    assert (tmp_path / ".raven" / "bus.db").exists()
    assert served == f"{tmp_path}/.raven/bus.db.sock"


@pytest.mark.parametrize("served", ["raven-bound@"], indirect=True)
def test_the_bound_service_serves_the_same_bus_as_its_instance(served: str, tmp_path: Path) -> None:
    with Line(served) as line:
        assert line.ask("hello")["bound"] == [INSTANCE]

    assert (tmp_path / ".raven" / "bus.db").exists()


@pytest.mark.parametrize("name", PAIRS)
def test_a_service_uses_options_that_raven_serve_knows(name: str) -> None:
    shown = subprocess.run(serve_command("--help"), capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^ +(--[a-z-]+)", shown, re.MULTILINE))

    assert {option for option in options(name) if option.startswith("-")} <= known


@pytest.mark.parametrize("name", PAIRS)
def test_a_socket_is_its_owners_alone(name: str) -> None:
    section = unit(f"{name}.socket")["Socket"]

    assert (section["SocketMode"], section["DirectoryMode"]) == ("0600", "0700")


def test_both_services_are_confined_alike() -> None:
    plain, bound = (dict(unit(f"{name}.service")["Service"]) for name in PAIRS)

    assert plain.pop("ExecStart") != bound.pop("ExecStart")
    assert plain == bound
    assert plain["NoNewPrivileges"] == "yes"
    assert plain["ReadWritePaths"] == "%h/.raven"


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    program = tmp_path / ".local" / "bin" / "raven"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = sorted(str(path) for path in UNITS.iterdir() if path.suffix in (".socket", ".service"))
    assert len(units) == 2 * len(PAIRS)

    verified = subprocess.run(
        ["systemd-analyze", "verify", "--user", *units],
        capture_output=True,
        text=True,
        check=False,
        env={**environment(), "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )

    # It may complain about other units of this machine.
    assert verified.returncode == 0, verified.stderr
    assert "raven" not in verified.stderr


def test_the_readme_installs_all_units_and_names_no_others(tmp_path: Path) -> None:
    readme = (UNITS / "README.md").read_text()
    (command,) = re.findall(r"^install .*$", readme, re.MULTILINE)

    subprocess.run(["bash", "-c", command], cwd=ROOT, env={**environment(), "HOME": str(tmp_path)}, check=True)

    units = {path.name for path in UNITS.iterdir()} - {"README.md"}
    assert {path.name for path in (tmp_path / ".config/systemd/user").iterdir()} == units
    named = set(re.findall(r"raven[\w@:-]*\.(?:socket|service)", readme))
    assert {name.replace(INSTANCE, "") for name in named} == units
