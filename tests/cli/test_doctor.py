"""`raven doctor`: each check says ok, warn or fail, with the remedy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from raven.doctor.examine import _check_sqlite
from tests.cli.shell import Shell

CHECKS = ["bus", "sqlite", "file system", "file", "permissions", "schema", "integrity", "journal", "disk"]


def verdicts(shell: Shell, *arguments: str) -> dict[str, dict[str, str]]:
    done = shell.run("doctor", "--json", *arguments)
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_healthy_bus_passes_every_check(shell: Shell) -> None:
    shell.ok("init")

    printed = shell.ok("doctor")

    assert [line.split(":")[0].split(None, 1)[1] for line in printed.splitlines()] == [
        *CHECKS,
        "doorbells",
        "inotify",
        "backlog",
        "dead letters",
    ]
    assert {line.split()[0] for line in printed.splitlines()} == {"ok"}
    assert shell.json("doctor", "--json")["healthy"] is True
    assert not [name for name in os.listdir(shell.folder) if "doctor" in name]


def test_dead_letters_are_told_with_the_remedy(shell: Shell) -> None:
    shell.ok("init")
    shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "job", "--max-attempts", "1")
    shell.ok("claim", "-a", "worker:s")
    shell.ok("nack", "1")

    check = verdicts(shell)["dead letters"]

    assert (check["verdict"], check["found"]) == ("warn", "1 deliveries died after their last attempt")
    assert "raven requeue" in check["remedy"]


def test_a_missing_bus_fails_with_the_remedy_and_exit_1(shell: Shell) -> None:
    done = shell.run("doctor")

    assert done.returncode == 1
    assert "fail  file: there is no bus at" in done.stdout
    assert "raven init" in done.stdout
    assert not os.path.exists(shell.db)


def test_a_file_of_something_else_fails(shell: Shell) -> None:
    program = "import sqlite3; sqlite3.connect('other.db').execute('CREATE TABLE theirs (x)')"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=shell.folder)

    done = shell.run("doctor", "--db", "other.db")

    assert done.returncode == 1
    assert "is an SQLite database of another program" in done.stdout


def test_a_bells_folder_that_cannot_be_is_a_warning(shell: Shell) -> None:
    shell.ok("init")
    shutil.rmtree(f"{shell.db}-bells", ignore_errors=True)
    with open(f"{shell.db}-bells", "w"):
        pass

    check = verdicts(shell)["doorbells"]

    assert check["verdict"] == "warn"
    assert "every 100 ms" in check["found"]


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        ((3, 40, 1), "fail"),
        ((3, 44, 6), "ok"),
        ((3, 45, 0), "fail"),
        ((3, 50, 6), "fail"),
        ((3, 50, 7), "ok"),
        ((3, 51, 2), "fail"),
        ((3, 51, 3), "ok"),
        ((3, 54, 1), "ok"),
    ],
)
def test_sqlite_versions_with_the_wal_reset_defect_fail(version: tuple[int, ...], verdict: str) -> None:
    assert _check_sqlite(version).verdict == verdict
