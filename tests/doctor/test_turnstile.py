"""`raven doctor` and the file at which writers take turns."""

from __future__ import annotations

import os
from pathlib import Path

from raven import BusClient
from raven.files.turnstile import SUFFIX
from tests.doctor_process import assert_reports, problems, run_checks


def test_a_turnstile_that_others_can_lock_is_reported_and_a_private_one_is_not(db: str) -> None:
    BusClient.at("boss:s", db).close()
    turnstile = Path(db + SUFFIX)
    turnstile.touch(0o600)
    assert not problems(run_checks(db))

    os.chmod(turnstile, 0o666)

    assert_reports(run_checks(db)["permissions"], "warn", str(turnstile), "writers do not take turns", "chmod")
