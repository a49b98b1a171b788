"""The unit of docs/many-hosts.md: systemd accepts it for a user and for the system, and it starts the relay."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.examples import ROOT, fenced

SYSTEM = {
    "WantedBy=default.target": "WantedBy=multi-user.target",
    "[Service]": "Wants=network-online.target\nAfter=network-online.target\n\n[Service]\nUser=root",
}


@pytest.mark.parametrize(("scope", "changes"), [("--user", {}), ("--system", SYSTEM)])
def test_systemd_finds_nothing_wrong_with_the_unit_of_the_relay(
    tmp_path: Path, scope: str, changes: dict[str, str]
) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not there")
    (tmp_path / ".raven").mkdir()
    program = tmp_path / ".local" / "bin" / "raven"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    [text] = fenced((ROOT / "docs" / "many-hosts.md").read_text(encoding="utf-8"), "ini")
    assert "ExecStart=%h/.local/bin/raven link\n" in text
    for old, new in {**changes, "%h": str(tmp_path)}.items():
        text = text.replace(old, new)
    unit = tmp_path / "raven-link.service"
    unit.write_text(text, encoding="utf-8")

    verified = subprocess.run(
        ["systemd-analyze", "verify", scope, str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )

    # It may complain about other units of this machine.
    assert verified.returncode == 0, verified.stderr
    assert "raven" not in verified.stderr
