"""`raven init`, `session`, `forget`, `completion` and `version`: a bus, its sessions and addresses, and a shell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import click

from raven import __version__
from raven.cli.command import Documented, DocumentedGroup
from raven.cli.options import ADDRESS, bus_option, json_option, open_client, open_observer
from raven.cli.output import echo_json, escape, format_count
from raven.errors import ConfigError, abbreviate

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete


@click.command(cls=Documented, short_help="Create raven.yaml and the bus file.", example="raven init --db bus.db")
@click.option("--db", default="bus.db", show_default=True, metavar="PATH", help="Path of the bus file.")
@click.option("--force", is_flag=True, help="Overwrite raven.yaml; an existing bus file stays as it is.")
@json_option
def init(db: str, force: bool, as_json: bool) -> None:
    """Create raven.yaml in this folder, and the bus file that it names."""
    from raven import config
    from raven.client import BusClient

    if os.path.lexists(config.FILE_NAME) and not force:
        raise ConfigError(f"{config.FILE_NAME} already exists here: edit it, or overwrite it with --force")
    path = os.path.abspath(os.path.expanduser(db))
    BusClient("init", "init", path, register=False).close()
    config.write(config.FILE_NAME, config.template(db), force=force)
    if as_json:
        echo_json({"config": os.path.abspath(config.FILE_NAME), "db": path})
        return
    click.echo(f"wrote {config.FILE_NAME}")
    click.echo(f"initialised {escape(path)}")
    click.echo("ready. try: raven doctor")


_EXAMPLE = "raven session init s1 -a planner:s1 -a worker:s1"


@click.group(cls=DocumentedGroup, short_help="Prepare or end a session.", example=_EXAMPLE)
def session() -> None:
    """Prepare or end a session, in which agents work together."""


@session.command("init", cls=Documented, short_help="Register the addresses of a session in advance.", example=_EXAMPLE)
@click.argument("session_id", metavar="SESSION")
@click.option("-a", "--address", "addresses", multiple=True, type=ADDRESS, help="Address in SESSION; repeatable.")
@click.option("-r", "--role", "roles", multiple=True, metavar="ROLE", hidden=True)
@json_option
@bus_option
def session_init(
    session_id: str, addresses: tuple[str, ...], roles: tuple[str, ...], as_json: bool, db: str | None
) -> None:
    """Register addresses of SESSION, so that broadcasts reach them before they start; creates a missing bus file."""
    from raven.model.address import make_address, parse_address

    for address in addresses:
        if parse_address(address).session != session_id:
            raise click.UsageError(
                f"address {abbreviate(address)} is not in session {abbreviate(session_id)}: write <role>:<session>"
            )
    registered = [*addresses, *(str(make_address(session_id, role)) for role in roles)]
    with open_client(str(make_address(session_id, "init")), db, register=False) as bus:
        bus.register(*registered)
        path = bus.db_path
    if as_json:
        echo_json({"db": path, "session": session_id, "registered": registered})
        return
    click.echo(f"initialised {escape(path)}")
    click.echo(f"session {escape(session_id)}: {escape(', '.join(registered)) or 'no address registered yet'}")


@session.command("end", cls=Documented, short_help="Forget the addresses of a session.", example="raven session end s1")
@click.argument("session_id", metavar="SESSION")
@json_option
@bus_option
def session_end(session_id: str, as_json: bool, db: str | None) -> None:
    """Unregister all addresses of SESSION, and let the mail that waits for them expire."""
    from raven.model.address import make_address

    make_address(session_id, "role")  # raises AddressError
    _forget((f"*:{session_id}",), as_json, db)


@click.command(
    cls=Documented,
    short_help="Unregister addresses, and let their mail expire.",
    example="raven forget worker:s1",
)
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True, type=ADDRESS)
@json_option
@bus_option
def forget(addresses: tuple[str, ...], as_json: bool, db: str | None) -> None:
    """Unregister addresses, and let the mail that waits for them expire.

    An ADDRESS may be a pattern: '*:s1' means all of a session, 'worker:*' a role in every session. A client that
    still uses its address registers it again, and so does another host that shows it: forget it there too.
    """
    _forget(addresses, as_json, db)


def _forget(targets: tuple[str, ...], as_json: bool, db: str | None) -> None:
    with open_observer(db) as bus:
        forgotten = bus.forget(*targets)
    if as_json:
        echo_json(forgotten._asdict())
        return
    addresses = format_count(forgotten.addresses, "address", "addresses")
    click.echo(f"forgot {addresses}; expired {format_count(forgotten.deliveries, 'delivery', 'deliveries')}")


@click.command(cls=Documented, short_help="Print a shell completion script.", example='eval "$(raven completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell; evaluate it in the start-up file of the shell."""
    from click.shell_completion import get_completion_class

    completion_class = cast("type[ShellComplete]", get_completion_class(shell))
    click.echo(completion_class(ctx.find_root().command, {}, "raven", "_RAVEN_COMPLETE").source())


@click.command(cls=Documented, short_help="Print the version.", example="raven version")
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        echo_json({"version": __version__})
    else:
        click.echo(f"raven {__version__}")
