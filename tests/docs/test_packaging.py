"""The wheel: built from this checkout, installed into a clean environment, and used there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from raven_mcp.install.integrations import read_folder

ROOT = Path(__file__).parents[2]


def run(*command: object, folder: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_built_here_installs_and_runs_in_a_clean_environment(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT, folder=tmp_path)
    [wheel] = tmp_path.glob("raven_bus-*-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {
        "raven/py.typed",
        "raven/store/sql/0001_initial.sql",
        "raven/store/sql/queries.sql",
        "raven_rpc/__init__.py",
        *(f"raven_http/page/static/{path.name}" for path in (ROOT / "rpc/raven_http/page/static").iterdir()),
        *(f"raven_mcp/integrations/claude-code/{name}" for name, _ in read_folder("claude-code")),
        "raven_mcp/integrations/opencode/raven.ts",
    } <= set(names)

    run(sys.executable, "-m", "venv", "clean", folder=tmp_path)
    place = tmp_path / "clean" / "bin"
    run(place / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, folder=tmp_path)

    assert run(place / "raven", "version", folder=tmp_path).startswith("raven ")
    run(place / "raven", "init", folder=tmp_path)
    run(place / "raven", "send", "--from", "a:s", "--to", "b:s", "-t", "x", folder=tmp_path)
    shown = run(place / "python", "-m", "raven", "inbox", "-a", "b:s", folder=tmp_path)
    assert shown == "#1 a:s -> b:s type=x {}\n"
    run(place / "python", "-c", "import raven, raven_rpc; raven.BusClient('s', 'c', 'bus.db')", folder=tmp_path)
