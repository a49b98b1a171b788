"""The commands that prepare and look (init, session init, peers, prune, version, completion), configuration."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest
import yaml

import raven
from raven import BusClient
from raven.cli.app import run
from raven.cli.exit_codes import GENERAL
from tests.cli.shell import Shell


def test_init_writes_raven_yaml_and_makes_the_bus(shell: Shell) -> None:
    printed = shell.ok("init")

    assert printed.splitlines() == ["wrote raven.yaml", f"initialised {shell.db}", "ready. try: raven doctor"]
    assert oct(os.stat(shell.db).st_mode & 0o777) == "0o600"
    assert yaml.safe_load((shell.folder / "raven.yaml").read_text())["db"] == "bus.db"


def test_init_does_not_overwrite_without_force(shell: Shell) -> None:
    shell.ok("init")
    (shell.folder / "raven.yaml").write_text("db: mine.db\n")

    said = shell.error(2, "init")

    assert "raven.yaml already exists here" in said
    assert (shell.folder / "raven.yaml").read_text() == "db: mine.db\n"
    assert shell.json("init", "--force", "--json") == {"config": str(shell.folder / "raven.yaml"), "db": shell.db}


def test_init_elsewhere_makes_that_bus_and_keeps_the_mail_of_an_old_one(shell: Shell) -> None:
    shell.ok("init", "--db", "other.db")
    shell.ok("send", "--from", "a:s", "--to", "b:s", "-t", "x", "--db", "other.db")

    shell.ok("init", "--db", "other.db", "--force")

    assert shell.ok("tail", "--no-follow", RAVEN_DB="").startswith("#1 a:s -> b:s")


@pytest.mark.both_ways
def test_session_init_registers_addresses_so_that_broadcasts_reach_them(shell: Shell) -> None:
    bus = shell.environment.get("RAVEN_SOCKET", shell.db)
    printed = shell.ok("session", "init", "swarm-1", "-a", "architect:swarm-1", "-a", "verifier:swarm-1")

    assert printed.splitlines() == [
        f"initialised {bus}",
        "session swarm-1: architect:swarm-1, verifier:swarm-1",
    ]
    shell.ok("send", "--from", "conductor:swarm-1", "--to", "*:swarm-1", "-t", "hello")
    for role in ("architect", "verifier"):
        assert len(shell.json("inbox", "-a", f"{role}:swarm-1", "-j")["messages"]) == 1
    assert shell.json("session", "init", "s", "--json") == {"db": bus, "session": "s", "registered": []}


@pytest.mark.parametrize(
    "arguments",
    [["bad:session"], ["s", "-a", "bad"], ["s", "-a", "a:other"], ["s", "-r", "bad:role"], [""], ["s", "-a", "*:s"]],
)
@pytest.mark.both_ways
def test_session_init_refuses_what_is_no_address(shell: Shell, arguments: list[str]) -> None:
    shell.error(2, "session", "init", *arguments)


@pytest.mark.both_ways
def test_the_older_spellings_of_options_and_commands_work_and_are_not_listed(shell: Shell) -> None:
    printed = shell.ok("session", "init", "s", "-r", "worker", "--role", "other", "-a", "third:s")
    shell.ok("send", "--from", "boss:s", "--to", "worker:s", "-t", "job")

    assert printed.splitlines()[1] == "session s: third:s, worker:s, other:s"
    for spelling in (
        ["-a", "worker:s"],
        ["-r", "worker:s"],
        ["-rworker:s"],
        ["--role=worker:s"],
        ["--role", "worker:s"],
    ):
        assert shell.ok("inbox", *spelling).startswith("#1 boss:s")
        assert shell.ok("read", "1", *spelling).startswith("#1 boss:s")
    assert shell.ok("dead") == shell.ok("dead-letters") == "(no messages)\n"
    listed = shell.ok("inbox", "--help") + shell.ok("session", "init", "--help") + shell.ok("--help")
    assert "--role" not in listed
    assert "  dead " not in listed
    assert shell.ok("dead", "--help").startswith("Usage: raven dead-letters ")


@pytest.mark.both_ways
def test_peers_shows_who_is_there_and_what_waits(shell: Shell) -> None:
    shell.ok("send", "--from", "a:s", "--to", "b:s", "-t", "x")

    heading, first, second = shell.ok("peers").splitlines()

    assert heading.split() == ["ADDRESS", "WAITING", "PENDING", "LAST", "SEEN"]
    assert first.split()[:3] == ["a:s", "no", "0"]
    assert second.split() == ["b:s", "no", "1", "never"]
    peers = shell.json("peers", "--session", "s", "--json")["peers"]
    assert [(peer["address"], peer["pending"]) for peer in peers] == [("a:s", 0), ("b:s", 1)]


@pytest.mark.both_ways
def test_peers_of_an_unknown_session_exits_6(shell: Shell) -> None:
    shell.ok("session", "init", "s")

    assert shell.ok("peers") == "(no addresses)\n"
    assert "session 'ghost' is not known" in shell.error(6, "peers", "--session", "ghost")


@pytest.mark.both_ways
def test_prune_drops_what_is_finished_and_old(shell: Shell) -> None:
    for _ in range(3):
        shell.ok("send", "--from", "a:s", "--to", "b:s", "-t", "x")
    shell.ok("ack", "1", "3")

    assert shell.ok("prune") == "dropped 0 messages with 0 bytes of bodies\n"
    assert (
        shell.ok("prune", "--older-than", "0s", "--grace", "0s", "--dry-run")
        == "would drop 1 messages with 2 bytes of bodies\n"
    )
    assert shell.ok("prune", "--older-than", "0s") == (
        "dropped 0 messages with 0 bytes of bodies\nkept 1 message for which a sender may still wait\n"
    )
    pruned = shell.json("prune", "--older-than", "0", "--grace", "0s", "--json")
    assert pruned == {"messages": 1, "bytes": 2, "kept": 0, "expired": 0, "dry_run": False}
    assert [line.split()[0] for line in shell.ok("tail", "--no-follow").splitlines()] == ["#2", "#3"]
    shell.error(2, "prune", "--older-than", "yesterday")


def test_prune_shows_a_progress_bar_on_a_terminal_only(shell: Shell) -> None:
    shell.ok("session", "init", "s")

    code, shown = shell.on_terminal("prune", "--older-than", "0s")

    assert code == 0
    assert "pruning" in shown
    assert shell.run("prune", "--older-than", "0s").stderr == ""


def test_version_is_the_packages(shell: Shell) -> None:
    assert shell.ok("version") == f"raven {raven.__version__}\n"
    assert shell.json("version", "--json") == {"version": raven.__version__}


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_each_shell(shell: Shell, name: str) -> None:
    assert "_RAVEN_COMPLETE" in shell.ok("completion", name)


def offered(shell: Shell, line: str) -> list[str]:
    """Return what the completion of bash is given for the last word of a line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    done = shell.run_process(_RAVEN_COMPLETE="bash_complete", **words)
    assert (done.returncode, done.stderr) == (0, "")
    return [value.removeprefix("plain,") for value in done.stdout.strip().splitlines()]


def test_completion_offers_commands_and_without_a_bus_no_address(shell: Shell) -> None:
    assert {"send", "session"} <= set(offered(shell, "raven se"))
    assert offered(shell, "raven inbox -a ") == []
    assert not Path(shell.db).exists()


def test_completion_offers_no_address_in_which_a_shell_sees_more_than_a_word(shell: Shell) -> None:
    good = ["architect:swarm-1", "a.b_c/d@e%f+g,h:s", "東京:s"]
    evil = ["$(touch x):s", "`id`:s", "a;b:s", "a b:s", "a'b:s", 'a"b:s', "a\\b:s", "~:s", "a&b:s", "-rf:s", "#a:s",
            "{a,b}:s", "a|b:s", "a>b:s", "a?b:s", "[a]:s", "!a:s", "a\u202eb:s"]  # fmt: skip
    with BusClient.at("setup:s", shell.db, register=False) as bus:
        bus.register(*good, *evil)

    assert sorted(offered(shell, "raven inbox -a ")) == sorted(good)
    assert offered(shell, "raven inbox -a arch") == ["architect:swarm-1"]


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (0, ("session", "init", "s")),
        (1, ("call", "stats", "--socket", "none.sock")),
        (2, ("fly",)),
        (3, ("peers",)),
        (3, ("send", "--from", "a:s", "--to", "b:s", "-t", "x", "--db", "no/bus.db")),
    ],
)
def test_a_process_ends_as_the_command_does(shell: Shell, code: int, arguments: tuple[str, ...]) -> None:
    done = shell.run_process(*arguments, RAVEN_CONNECT_TIMEOUT_S="0")

    assert done.returncode == code
    assert (done.stdout == "", done.stderr.startswith("error: ")) == (bool(code), bool(code))


def test_unknown_commands_options_and_arguments_exit_2(shell: Shell) -> None:
    assert "No such command 'fly'" in shell.error(2, "fly")
    assert "No such option" in shell.error(2, "version", "--fast")
    assert "unexpected extra argument" in shell.error(2, "stats", "worker:s")
    assert shell.run().returncode == 2


def test_flag_beats_environment_beats_file_beats_default(shell: Shell) -> None:
    shell.ok("init", "--db", "file.db")

    def bus(*arguments: str, **environment: str) -> tuple[str, str]:
        path, _, source = shell.json("doctor", "--json", *arguments)["checks"][0]["found"].partition(", from ")
        return Path(path).name, source

    assert bus("--db", "file.db") == ("file.db", "--db")
    shell.ok("session", "init", "s")
    assert bus() == ("bus.db", "the environment variable RAVEN_DB")
    del shell.environment["RAVEN_DB"]
    assert bus() == ("file.db", str(shell.folder / "raven.yaml"))
    (shell.folder / "raven.yaml").unlink()
    shell.ok("session", "init", "s")
    assert bus() == ("bus.db", "the per-user default")
    assert (shell.folder / "home" / ".raven" / "bus.db").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("db: [", "is not YAML"),
        ("- a\n", "holds list, not settings"),
        ("dbb: x\n", "the key 'dbb' is not known"),
        ("busy_timeout_s: soon\n", "busy_timeout_s is 'soon', but must be a number of seconds"),
    ],
)
def test_a_wrong_raven_yaml_is_one_line_and_exits_2(shell: Shell, text: str, said: str) -> None:
    (shell.folder / "raven.yaml").write_text(text)

    assert said in shell.error(2, "peers")


def test_log_level_of_the_environment_is_checked(shell: Shell) -> None:
    assert "log level 'loud' is not known" in shell.error(2, "peers", RAVEN_LOG_LEVEL="loud")


@pytest.mark.parametrize(
    "command",
    [("peers",), ("stats",), ("dead-letters",), ("dead-letters", "--purge"), ("requeue", "--all"), ("receipts", "1"),
     ("thread", "1"),
     ("history", "--task-id", "t"), ("read", "1", "-a", "a:s"), ("ack", "1", "-a", "a:s"), ("nack", "1", "-a", "a:s"),
     ("extend", "1", "-a", "a:s"), ("inbox", "-a", "a:s", "--peek")],
    ids=" ".join,
)  # fmt: skip
def test_a_command_that_needs_a_bus_never_makes_one(shell: Shell, command: tuple[str, ...]) -> None:
    assert "there is no bus at" in shell.error(3, *command, "--db", "typo.db")
    assert not (shell.folder / "typo.db").exists()


def test_no_database_exits_3(shell: Shell) -> None:
    (shell.folder / "text.db").write_text("this is no database, only a text that is long enough to be read as one" * 20)
    assert "is not an SQLite database" in shell.error(3, "peers", "--db", "text.db")
    assert "is a folder" in shell.error(3, "peers", "--db", "home")
    assert "does not exist" in shell.error(3, "send", "--from", "a:s", "--to", "b:s", "-t", "x", "--db", "no/bus.db")


def test_a_full_pipe_that_nobody_reads_any_more_is_no_mistake(shell: Shell) -> None:
    for _ in range(4):
        shell.ok("send", "--from", "a:s", "--to", "b:s", "-t", "x", "--body", '"' + "y" * 90000 + '"')
    process = shell.start("tail", "--no-follow")
    assert process.stdout
    assert process.stderr

    process.stdout.read(10)
    process.stdout.close()

    assert process.wait(20) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_the_module_and_the_console_script_are_the_same(shell: Shell) -> None:
    script = Path(sys.executable).with_name("raven")

    done = subprocess.run([script, "version"], capture_output=True, text=True, check=True, timeout=20)

    assert done.stdout == shell.ok("version")


def test_a_command_whose_output_is_caught_in_memory_runs_as_any_other() -> None:
    output = io.StringIO()

    with redirect_stdout(output):
        code = run(["version"])

    assert code == 0
    assert output.getvalue().strip()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_output_for_which_there_is_no_room_is_one_line_of_error(capsys: pytest.CaptureFixture[str]) -> None:
    # Python tries the failed write once more when it closes the file.
    with suppress(OSError), open("/dev/full", "w", encoding="utf-8") as full, redirect_stdout(full):
        code = run(["version"])

    assert code == GENERAL
    assert capsys.readouterr().err.splitlines() == ["error: No space left on device"]
