"""`raven mute`: the addresses whose mail is announced to no agent."""

from __future__ import annotations

import click

from raven.cli.command import Documented
from raven.cli.options import ADDRESS, db_option, json_option, load_config
from raven.cli.output import echo_json, escape


@click.command(
    cls=Documented,
    short_help="Announce no mail from some addresses to agents.",
    example="raven mute worker:s1",
)
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, type=ADDRESS)
@click.option("--off", is_flag=True, help="Announce mail from them again.")
@click.option("--list", "is_list", is_flag=True, help="Show the muted addresses.")
@json_option
@db_option
def mute(addresses: tuple[str, ...], off: bool, is_list: bool, as_json: bool, db: str | None) -> None:
    """Announce no mail from ADDRESS to coding agents: no notice, and no agent is woken.

    The mail arrives all the same, and an agent that looks into its inbox sees it. Mute a sender that keeps agents busy.
    """
    from raven.agents.agents import Agents
    from raven.observer import BusObserver

    if is_list == bool(addresses) or (is_list and off):
        raise click.UsageError("name one ADDRESS or more, or use --list alone")
    config = load_config(db)
    with BusObserver(config.db, busy_timeout_s=config.busy_timeout_s) as bus:
        agents = Agents(bus._store)
        if addresses:
            (agents.unmute if off else agents.mute)(*addresses)
        muted = sorted(agents.muted())
    if as_json:
        echo_json({"muted": muted})
        return
    for address in muted if is_list else addresses:
        click.echo(escape(address) if is_list else f"{'unmuted' if off else 'muted'} {escape(address)}")
    if is_list and not muted:
        click.echo("(no addresses)")
