"""`raven init` and `raven session`: make a bus, and register who will use it."""

from __future__ import annotations

import os

import click

from raven import config
from raven.cli.options import bus_option, json_option, open_client
from raven.cli.output import echo_json, escape
from raven.client import BusClient
from raven.errors import ConfigError
from raven.model.address import make_address


@click.command(short_help="Write raven.yaml and make the bus.")
@click.option("--db", default="bus.db", show_default=True, metavar="PATH", help="Where the bus shall be.")
@click.option("--force", is_flag=True, help="Overwrite raven.yaml. The bus itself is never overwritten.")
@json_option
def init(db: str, force: bool, as_json: bool) -> None:
    """Write raven.yaml in this folder and make the bus that it names."""
    if os.path.lexists(config.FILE_NAME) and not force:
        raise ConfigError(f"{config.FILE_NAME} is already here: edit it, or overwrite it with --force")
    path = os.path.abspath(os.path.expanduser(db))
    BusClient("init", "init", path, register=False).close()
    with open(config.FILE_NAME, "w", encoding="utf-8") as file:
        file.write(config.template(db))
    if as_json:
        echo_json({"config": os.path.abspath(config.FILE_NAME), "db": path})
        return
    click.echo(f"wrote {config.FILE_NAME}")
    click.echo(f"initialised {escape(path)}")
    click.echo("ready. try: raven doctor")


@click.group()
def session() -> None:
    """Prepare a session: the swarm that works together."""


@session.command("init", short_help="Register the roles of a session in advance.")
@click.argument("session_id", metavar="SESSION")
@click.option("-r", "--role", "roles", multiple=True, metavar="ROLE", help="A role; may be given several times.")
@json_option
@bus_option
def session_init(session_id: str, roles: tuple[str, ...], as_json: bool, db: str | None) -> None:
    """Make the bus if there is none and register roles, so that broadcasts reach them before they start."""
    addresses = [str(make_address(session_id, role)) for role in roles]
    with open_client(str(make_address(session_id, "init")), db, register=False) as bus:
        bus.register(*addresses)
        path = bus.db_path
    if as_json:
        echo_json({"db": path, "session": session_id, "registered": addresses})
        return
    click.echo(f"initialised {escape(path)}")
    click.echo(
        f"session {escape(session_id)}: {escape(', '.join(addresses)) or 'roles register when they first use it'}"
    )
