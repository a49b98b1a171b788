"""`raven link`: the relay that links this bus with the buses of other hosts, and the care of such links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from raven.cli.command import Documented, DocumentedGroup
from raven.cli.options import db_option, import_link, json_option, load_config
from raven.cli.output import echo_json, echo_table, escape, format_count, format_duration, format_size
from raven.errors import abbreviate

if TYPE_CHECKING:
    from raven.config import Config
    from raven.exchange.exchange import Exchange
    from raven.exchange.values import HostOverview

_EXAMPLE = "raven link --name alpha --realm lab"
_US = 1_000_000


class _LinkGroup(DocumentedGroup):
    """A group whose command `run` need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take arguments that begin with no command for arguments of `run`."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_LinkGroup, short_help="Link this bus with buses of other hosts, over NATS.", example=_EXAMPLE)
def link() -> None:
    """Link this bus with the buses of other hosts: mail for an address that is used on another host goes there.

    `raven link [URL]` runs the relay, as `raven link run` does. Every host that takes part runs one relay for its bus,
    and all relays use one NATS server with JetStream. Needs the extra `link`: pip install 'raven-bus[link]'.
    """


@link.command(
    cls=Documented,
    short_help="Run the relay of this bus, until SIGTERM or Ctrl-C.",
    example=_EXAMPLE,
    exit_codes={7: "another relay of this bus runs already"},
)
@click.argument("urls", metavar="[URL]...", nargs=-1)
@click.option("--name", metavar="NAME", help="Name of this host in the realm (the host name).")
@click.option("--realm", metavar="NAME", help="The hosts of one realm are linked (main).")
@click.option("--sessions", metavar="PATTERN", multiple=True, help="Share only such sessions; repeatable.")
@click.option("--creds", metavar="FILE", help="Credentials for the server (else RAVEN_LINK_CREDS).")
@click.option("--nkey", metavar="FILE", help="Seed of an nkey for the server.")
@click.option("--tls-ca", metavar="FILE", help="Certificates that sign the server's.")
@click.option("--tls-cert", metavar="FILE", help="Certificate of this client.")
@click.option("--tls-key", metavar="FILE", help="Key of that certificate.")
@click.option("--js-domain", metavar="NAME", help="JetStream domain, if it is not the server's own.")
@db_option
def run(urls: tuple[str, ...], sessions: tuple[str, ...], db: str | None, **options: Any) -> None:
    """Run the relay of this bus over the NATS server at URL, as nats://hub:4222.

    Without URL it is RAVEN_LINK_URL, or link.url of raven.yaml. Several URLs are servers of one cluster. While no
    server answers, mail for other hosts waits in the bus file, and mail on this host is delivered as ever. raven.yaml
    holds further settings below `link`.
    """
    config = load_config(db)
    with import_link():
        from raven.link import settings as link_settings
        from raven.link.relay.process import run_until_signal
    given = {**options, "url": list(urls) or None, "sessions": list(sessions) or None}
    settings = link_settings.load(config, given)
    run_until_signal(
        config.db,
        settings,
        busy_timeout_s=config.busy_timeout_s,
        max_body_bytes=config.max_body_bytes,
        identity_ttl_s=config.identity_ttl_s,
        on_ready=lambda url: click.echo(f"linked as {settings.name} in {settings.realm} over {escape(url)}"),
    )


@link.command(
    cls=Documented,
    short_help="Show the links to other hosts.",
    example="raven link status || echo 'start it: raven link URL'",
    exit_codes={1: "no relay of this bus runs"},
)
@json_option
@db_option
def status(as_json: bool, db: str | None) -> int:
    """Show whether the relay of this bus runs, and how the links to other hosts fare.

    HELD counts the deliveries that another host has and has not finished. UNCONFIRMED counts the frames that it has
    not confirmed. AGAIN counts how often frames had to be sent again.
    """
    from raven.link import status as relay_status

    config = load_config(db)
    hosts = {one.host: one for one in _overview(config)}
    told = relay_status.read(config.db)
    is_running = relay_status.is_running(config.db)
    if as_json:
        echo_json(_as_json(told, hosts, is_running))
    else:
        _print_status(told, hosts, is_running)
    return 0 if is_running else 1


@link.command(cls=Documented, short_help="Take the mail back that a lost host has.", example="raven link forget beta")
@click.argument("host")
@json_option
@db_option
def forget(host: str, as_json: bool, db: str | None) -> None:
    """Make the mail ready again that HOST has, and forget HOST: it is gone for good.

    HOST may have handled some of that mail before: then it is handled twice. A host that is still alive is known again
    with its next card.
    """
    config = load_config(db)
    _require_host(config, host)
    with _open_exchange(config) as exchange:
        count = exchange.forget(host)
    if as_json:
        echo_json({"host": host, "ready": count})
    else:
        click.echo(f"forgot {escape(host)}: {format_count(count, 'delivery', 'deliveries')} ready again")


@link.command(cls=Documented, short_help="Give mail of other hosts back to them.", example="raven link drain")
@json_option
@db_option
def drain(as_json: bool, db: str | None) -> None:
    """Give all mail back to the hosts that sent it, unless a consumer here has claimed it: before this host leaves.

    The relay must run until `raven link status` shows no unconfirmed frames. These hosts then send the mail where its
    address is used, also to this host again while a consumer waits here.
    """
    with _open_exchange(load_config(db)) as exchange:
        count = exchange.give_back_all()
    if as_json:
        echo_json({"returned": count})
    else:
        click.echo(f"returned {format_count(count, 'delivery', 'deliveries')}")


@link.command(
    cls=Documented,
    short_help="Print the setup of the server, for its administrator.",
    example="raven link setup --print --realm lab alpha beta",
)
@click.argument("hosts", metavar="HOST...", nargs=-1, required=True)
@click.option("--print", "prints", is_flag=True, help="Print the commands; nothing else is done in any case.")
@click.option("--realm", metavar="NAME", help="The realm of these hosts (else link.realm, else main).")
@click.option("--js-domain", metavar="NAME", help="JetStream domain, if it is not the server's own.")
@db_option
def setup(hosts: tuple[str, ...], prints: bool, db: str | None, **options: Any) -> None:
    """Print the commands of `nats` that make the streams and consumers, and the permissions that each HOST needs.

    A relay makes the streams and its consumer itself if its user may. With this setup it need not be allowed to.
    """
    with import_link():
        from raven.link import settings as link_settings
        from raven.link.jetstream.setup import setup_commands
    for host in hosts:
        if not link_settings.is_name(host):
            raise click.UsageError(f"{abbreviate(host)} names no host: use 1 to 40 of a-z, 0-9 and -")
    # The commands depend neither on the server nor on the name of this host.
    given = {"url": "nats://localhost", "name": hosts[0], **options}
    click.echo(setup_commands(link_settings.load(load_config(db), given), hosts))


def _open_exchange(config: Config) -> Exchange:
    """Open the exchange of a linked bus beside its relay, under the name that the relay has used last."""
    from raven.exchange.exchange import Exchange
    from raven.link import status as relay_status

    name = relay_status.read(config.db).get("name") or "this-host"
    return Exchange(config.db, name, busy_timeout_s=config.busy_timeout_s)


def _overview(config: Config) -> list[HostOverview]:
    """Return the linked hosts; changes nothing, also not in a bus without a link."""
    from raven.exchange.overview import overview
    from raven.store.database import Store

    store = Store(config.db, busy_timeout_s=config.busy_timeout_s, create=False)
    try:
        return overview(store)
    finally:
        store.close()


def _require_host(config: Config, host: str) -> None:
    known = [one.host for one in _overview(config)]
    if host not in known:
        names = f"its hosts are {', '.join(known)}" if known else "it is linked to none"
        raise click.UsageError(f"the bus is not linked to a host {abbreviate(host)}: {names}")


def _as_json(told: dict[str, Any], hosts: dict[str, HostOverview], is_running: bool) -> dict[str, Any]:
    links = told.get("hosts", {}) if is_running else {}
    return {
        "is_running": is_running,
        **told,
        "hosts": [
            {**(hosts[name]._asdict() if name in hosts else {"host": name}), **links.get(name, {})}
            for name in sorted({*hosts, *links})
        ],
    }


def _print_status(told: dict[str, Any], hosts: dict[str, HostOverview], is_running: bool) -> None:
    from raven.model import clock

    now = clock.now()
    links: dict[str, Any] = told.get("hosts", {}) if is_running else {}
    if not is_running:
        click.echo("no relay of this bus runs here")
    else:
        server, since = told.get("server") or {}, told.get("connected_at")
        where = f"over {server.get('url', '-')} since {format_duration((now - since) / _US)}" if since else "no server"
        stream = f", {format_size(server['bytes'])} under way" if server else ""
        click.echo(f"{escape(told.get('name', '-'))} in {escape(told.get('realm', '-'))}: {escape(where)}{stream}")
        for trouble in [told.get("failure"), *told.get("trouble", {}).values()]:
            if trouble:
                click.echo(f"trouble: {escape(trouble)}")
    rows = []
    for name in sorted({*hosts, *links}):
        one, link = hosts.get(name), links.get(name, {})
        oldest = None if one is None or one.oldest_held_at is None else (now - one.oldest_held_at) / _US
        heard = link.get("heard_s")
        rows.append(
            (
                name,
                "yes" if link.get("is_alive") else "no",
                format_duration(heard),
                one.sent if one else 0,
                one.window_used if one else 0,
                one.received if one else 0,
                one.held if one else 0,
                format_duration(oldest),
                link.get("again", "-"),
                link.get("addresses", "-"),
            )
        )
    headings = ("HOST", "ALIVE", "HEARD", "SENT", "UNCONFIRMED", "RECEIVED", "HELD", "OLDEST", "AGAIN", "ADDRESSES")
    if rows:
        echo_table(headings, rows)
    else:
        click.echo("(no other host yet)")
