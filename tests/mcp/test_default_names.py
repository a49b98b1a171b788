"""The names of a session that was given none: from its program, its id and its folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from zlib import crc32

import pytest

from raven_mcp.session import identity
from tests.mcp.agent_session import CLAUDE_ID, CODEX_ID
from tests.support import needs


@pytest.mark.parametrize(
    ("client", "host"),
    [
        ("claude-code", "claude-code"),
        ("codex-mcp-client", "codex"),
        ("opencode", "opencode"),
        ("gemini-cli-mcp-client", "gemini"),
        ("cursor-vscode", "cursor"),
        ("My Agent!", "my-agent"),
        ("codexample", "codexample"),
        ("", "agent"),
        ("</x>", "x"),
        ("…", "agent"),
    ],
)
def test_a_client_name_stands_for_its_program(client: str, host: str) -> None:
    assert identity.host_of(client) == host


@pytest.mark.parametrize(
    ("host", "native_id", "role"),
    [
        ("claude-code", CLAUDE_ID, "claude-3f2a"),
        ("codex", CODEX_ID, "codex-4e5f"),
        ("opencode", "ses_XYZW", f"opencode-{crc32(b'ses_XYZW'):08x}"[:13]),
        ("a" * 32, "0000beef", f"{'a' * 27}-beef"),
    ],
)
def test_a_role_is_made_of_the_program_and_the_session(host: str, native_id: str, role: str) -> None:
    assert identity.default_role(host, native_id) == role


def git(folder: Path, *arguments: str) -> None:
    """Run git without the settings of the user."""
    user = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *user, *arguments], cwd=folder, env=environment, check=True, capture_output=True)


def test_all_working_trees_of_a_repository_are_one_session(tmp_path: Path) -> None:
    needs("git")
    main, linked = tmp_path / "ledger", tmp_path / "elsewhere" / "fix-7"
    main.mkdir()
    git(main, "init")
    git(main, "commit", "--allow-empty", "-m", "first")
    git(main, "worktree", "add", str(linked))
    below = linked / "src" / "deep"
    below.mkdir(parents=True)

    assert identity.main_folder(str(main)) == str(main)
    assert identity.main_folder(str(linked)) == str(main)
    assert identity.main_folder(str(below)) == str(main)


def test_a_working_tree_of_a_bare_repository_is_named_by_that(tmp_path: Path) -> None:
    needs("git")
    bare, linked = tmp_path / "ledger.git", tmp_path / "work"
    bare.mkdir()
    git(bare, "init", "--bare")
    tree = (
        subprocess.run(["git", "mktree"], cwd=bare, input=b"", capture_output=True, check=True).stdout.decode().strip()
    )
    git(bare, "update-ref", "refs/heads/main", _commit(bare, tree))
    git(bare, "worktree", "add", str(linked), "main")

    assert os.path.basename(identity.main_folder(str(linked))) == "ledger"


def _commit(bare: Path, tree: str) -> str:
    user = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    made = subprocess.run(["git", *user, "commit-tree", tree, "-m", "m"], cwd=bare, capture_output=True, check=True)
    return made.stdout.decode().strip()


@pytest.mark.parametrize(
    "link", [b"", b"nonsense", b"gitdir: /nowhere/at/all", b"gitdir: \xff\xfe", b"gitdir: " + b"x" * 9000]
)
def test_a_broken_link_of_a_working_tree_names_no_repository(tmp_path: Path, link: bytes) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / ".git").write_bytes(link)

    assert identity.main_folder(str(work)) == str(work)


def test_a_fifo_in_the_place_of_a_link_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".git")

    assert identity.main_folder(str(tmp_path)) == str(tmp_path)
