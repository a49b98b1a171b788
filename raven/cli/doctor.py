"""`raven doctor`."""

from __future__ import annotations

import click

from raven.cli.exit_codes import GENERAL
from raven.cli.options import db_option, json_option, load_config
from raven.cli.output import echo_json, escape

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(short_help="Check the health of the bus.")
@json_option
@db_option
def doctor(as_json: bool, db: str | None) -> int:
    """Check which bus this is and whether it is healthy: lines of ok, warn or fail with the remedy; exit 1 on fail."""
    from raven.doctor.examine import examine

    checks = []
    for check in examine(load_config(db)):
        checks.append(check)
        if not as_json:
            verdict = click.style(f"{check.verdict:<4}", fg=_COLOURS[check.verdict])
            remedy = f" -> {escape(check.remedy)}" if check.remedy else ""
            click.echo(f"{verdict}  {check.name}: {escape(check.found)}{remedy}")
    failed = any(check.verdict == "fail" for check in checks)
    if as_json:
        echo_json({"healthy": not failed, "checks": [check.as_dict() for check in checks]})
    return GENERAL if failed else 0
