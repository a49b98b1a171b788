"""`raven version`."""

from __future__ import annotations

import click

from raven import __version__
from raven.cli.options import json_option
from raven.cli.output import echo_json


@click.command(short_help="Print the version.")
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        echo_json({"version": __version__})
    else:
        click.echo(f"raven {__version__}")
