"""A bus in trouble: each call fails with one clear line, the server lives, and works again when the bus does."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raven import BusClient
from tests.mcp.harness import RAVEN_MCP, McpClient, ToolError
from tests.support import Foreign, wait_for_waiting, wait_until

StartMcp = Callable[..., McpClient]
Connect = Callable[[str], BusClient]


def error_of(client: McpClient, tool: str, **arguments: Any) -> str:
    """Return the text of a tool error, which is one line."""
    with pytest.raises(ToolError) as raised:
        client.call(tool, **arguments)
    assert "\n" not in str(raised.value)
    assert "Traceback" not in client.errors()
    return str(raised.value)


def test_while_another_writer_holds_the_lock_writes_fail_and_reads_work(
    start_mcp: StartMcp, spawn: Any, db: str
) -> None:
    a = start_mcp("--as", "a:s")
    a.call("send", to="b:s", body=1)
    holder = spawn("lock_holder", db)
    holder.read()

    assert "try again" in error_of(a, "send", to="b:s", body=2)
    assert a.call("peers")["you"] == "a:s"
    holder.ask("release")

    assert a.call("send", to="b:s", body=3)["id"] == 2


def test_a_session_that_cannot_be_bound_is_bound_by_a_later_call(
    start_mcp: StartMcp, connect: Connect, spawn: Any, db: str
) -> None:
    connect("b:s")
    holder = spawn("lock_holder", db)
    holder.read()
    a = start_mcp("--as", "a:s")

    assert "locked" in error_of(a, "peers")
    holder.ask("release")

    assert a.call("peers")["you"] == "a:s"


def test_a_wait_outlasts_a_lock_and_shows_the_message(
    start_mcp: StartMcp, connect: Connect, spawn: Any, db: str
) -> None:
    a, b = start_mcp("--as", "a:s"), connect("b:s")
    waiting = a.begin("inbox", wait_s=100)
    wait_for_waiting(db, "a:s")
    holder = spawn("lock_holder", db)
    holder.read()
    a.request("ping")
    holder.ask("release")
    b.send("a:s", "note", "after the lock")

    [message] = a.value(waiting)["messages"]
    assert message["body"] == "after the lock"
    wait_until(lambda: b.receipts(1)[0].state == "delivered", "the mark")


def test_a_bus_that_is_replaced_is_used_under_the_same_address(start_mcp: StartMcp, tmp_path: Path, db: str) -> None:
    a = start_mcp("--as", "a:s")
    assert [a.call("send", to="a:s", body=number)["id"] for number in range(3)] == [1, 2, 3]
    a.call("inbox")
    new = str(tmp_path / "new" / "bus.db")
    os.mkdir(tmp_path / "new")
    BusClient.at("b:s", new).close()
    waiting = a.begin("inbox", wait_s=100)

    os.replace(new, db)

    assert a.call("send", to="b:s", body="in the new file")["id"] == 1
    with BusClient.at("b:s", db) as b:
        assert [peer.agent for peer in b.peers() if peer.address == "a:s"] == ["test-host"]
        b.send("a:s", "note", "hello")
        assert a.value(waiting)["messages"][0]["body"] == "hello"
        b.send("a:s", "note", "again")
    assert a.call("peers")["unread"] == 1


def test_a_bus_that_is_gone_is_named_and_found_when_it_is_back(start_mcp: StartMcp, db: str) -> None:
    a = start_mcp("--as", "a:s")
    a.call("inbox")
    waiting = a.begin("inbox", wait_s=100)
    os.rename(db, f"{db}.away")

    assert db in error_of(a, "send", to="b:s", body=1)
    with pytest.raises(ToolError, match=r"bus\.db"):
        a.value(waiting)
    os.rename(f"{db}.away", db)

    assert a.call("send", to="b:s", body=1)["id"] == 1


def test_a_message_whose_answer_cannot_come_any_more_was_sent_all_the_same(start_mcp: StartMcp, db: str) -> None:
    a = start_mcp("--as", "a:s")
    waiting = a.begin("send", to="b:s", body="?", wait_s=100)
    wait_for_waiting(db, "a:s")
    a.request("ping")

    os.rename(db, f"{db}.away")

    with pytest.raises(ToolError, match=r"message #1 was sent, but raven cannot wait for its answer: .*bus\.db"):
        a.value(waiting)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_on_a_full_disk_writes_fail_and_work_again_when_there_is_space(start_mcp: StartMcp) -> None:
    a = start_mcp("--as", "a:s")
    a.call("send", to="b:s", body=1)
    _, hard = resource.prlimit(a.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(a.pid, resource.RLIMIT_FSIZE, (0, hard))

    assert "disk" in error_of(a, "send", to="b:s", body=2)
    assert a.call("thread", id=1)["messages"][0]["body"] == "1"
    resource.prlimit(a.pid, resource.RLIMIT_FSIZE, (hard, hard))

    assert a.call("send", to="b:s", body=3)["id"] == 2


def mount_read_only(folder: Path) -> tuple[str, ...]:
    """Return the begin of a command for which a folder is mounted read-only."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, str(folder))


def test_a_bus_that_may_not_be_written_is_named(start_mcp: StartMcp, connect: Connect, tmp_path: Path, db: str) -> None:
    connect("b:s").send("a:s", "note", 1)
    read_only = mount_read_only(Path(db).parent)
    if subprocess.run([*read_only, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a folder")
    home = tmp_path / "home"
    home.mkdir()
    a = start_mcp("--as", "a:s", folder=home, command=(*read_only, *RAVEN_MCP))

    error = error_of(a, "inbox")

    assert db in error
    assert a.request("ping") == {}


@pytest.mark.parametrize("kind", ["text", "folder", "missing folder", "newer"])
def test_a_file_that_is_no_bus_is_named(
    start_mcp: StartMcp, connect: Connect, foreign: Foreign, tmp_path: Path, db: str, kind: str
) -> None:
    path = tmp_path / "other.db"
    if kind == "text":
        path.write_text("no bus " * 1_000)
    elif kind == "folder":
        path.mkdir()
    elif kind == "missing folder":
        path = tmp_path / "none" / "\n" / "bus.db"
    else:
        connect("b:s")
        foreign.execute("PRAGMA user_version = 9999")
        path = Path(db)
    a = start_mcp("--as", "a:s", bus=str(path))

    for tool in ("peers", "inbox"):
        assert ".db" in error_of(a, tool)
    assert len(a.request("tools/list")["tools"]) == 7


def test_a_setting_that_is_wrong_is_named_at_each_call(start_mcp: StartMcp, tmp_path: Path) -> None:
    (tmp_path / "raven.yaml").write_text("db: bus.db\nsession: 'Not A Name'\n")
    a = start_mcp(bus=None)

    assert "session in raven.yaml is 'Not A Name'" in error_of(a, "peers")
    (tmp_path / "raven.yaml").write_text("db: bus.db\nsession: pay\n")

    assert a.call("peers")["you"].endswith(":pay")
