"""`raven install`: raven's server and hooks in the configuration of coding agents."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from raven.cli.command import Documented
from raven.cli.exit_codes import GENERAL, USAGE
from raven.cli.options import json_option
from raven.cli.output import echo_json, echo_table, escape, format_count

if TYPE_CHECKING:
    from raven_mcp.install.plan import Order, Plan

_HOSTS = ("claude-code", "codex", "gemini", "opencode", "cursor")


@click.command(
    cls=Documented,
    short_help="Connect coding agents: Claude Code, Codex, Gemini CLI, ...",
    example="raven install",
    exit_codes={
        GENERAL: "a step failed, or the server did not start; all steps for that host were taken back",
        USAGE: "a file was left alone, since it has comments or cannot be read: its new text is printed",
    },
)
@click.argument("hosts", metavar="[HOST]...", nargs=-1, type=click.Choice(_HOSTS))
@click.option("--scope", type=click.Choice(["user", "project"]), default="user", show_default=True, help="Whose files.")
@click.option("--dry-run", is_flag=True, help="Print the changes and make none.")
@click.option("--uninstall", is_flag=True, help="Take raven off again: without HOST, off every host.")
@click.option("--allow", is_flag=True, help="Let Claude Code use raven's tools without asking.")
@click.option("--no-hooks", is_flag=True, help="Install the server alone: no notices of new mail.")
@click.option("--db", metavar="PATH", help="Bus file of the agents (else the one that each would find itself).")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before the changes.")
@json_option
def install(
    hosts: tuple[str, ...],
    scope: str,
    dry_run: bool,
    uninstall: bool,
    allow: bool,
    no_hooks: bool,
    db: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Connect coding agents with the bus: HOST is claude-code, codex, gemini, opencode or cursor.

    Without HOST, print which hosts this machine has, and where raven is installed. Each host gets the MCP server `raven
    mcp` and hooks that tell a session of new mail. The changes are shown first. Then the server is started once; if it
    does not answer, everything is taken back. With --scope project, the files of this folder get the entries.
    """
    from raven_mcp.install.files import RefusedError
    from raven_mcp.install.locate import locate
    from raven_mcp.install.plan import Order

    if not hosts and not uninstall:
        return _list(as_json)
    if allow and "claude-code" not in hosts:
        raise click.UsageError("--allow changes Claude Code alone: name claude-code, too")
    names = list(dict.fromkeys(hosts)) or _installed(scope)
    try:
        program = locate(scope, db)
    except RefusedError as error:
        raise click.UsageError(str(error)) from None
    order = Order(program, scope, hooks=not no_hooks, allow=allow, is_uninstall=uninstall)
    report = _Report(as_json)
    plans = [plan for name in names if (plan := _plan(name, order, report)) is not None]
    if not names:
        report.say("raven is installed nowhere")
    if dry_run:
        return report.finish()
    if not yes and any(plan.steps for plan in plans) and not _is_agreed(plans):
        report.say("nothing was changed")
        return GENERAL
    for plan in plans:
        _carry_out(plan, order, report)
    return report.finish()


class _Report:
    """The outcome for each host, printed line by line or as one JSON text in the end."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._hosts: dict[str, dict[str, Any]] = {}
        self._code = 0

    def note(self, host: str, **details: Any) -> None:
        """Add details to the outcome of a host."""
        self._hosts.setdefault(host, {"host": host}).update(details)

    def say(self, text: str) -> None:
        """Print a text, unless JSON is asked for."""
        if not self._as_json:
            click.echo(text)

    def fail(self, host: str, code: int, problem: str, snippet: str = "") -> None:
        """Print why nothing was done for a host, and the text that the user can write by hand."""
        self._code = max(self._code, code)
        self.note(host, result="refused" if code == USAGE else "failed", problem=problem, snippet=snippet)
        if not self._as_json:
            click.echo(f"{click.style('error:', fg='red')} {host}: {escape(problem)}", err=True)
            if snippet:
                click.echo(snippet)

    def finish(self) -> int:
        """Print the JSON text, and return the exit code."""
        if self._as_json:
            echo_json({"hosts": list(self._hosts.values())})
        return self._code


def _plan(name: str, order: Order, report: _Report) -> Plan | None:
    """Return the plan for a host, and print its steps; None if the host refuses it."""
    from raven_mcp.install.catalogue import HOSTS
    from raven_mcp.install.files import RefusedError

    try:
        plan = HOSTS[name].plan(order)
    except RefusedError as error:
        report.fail(name, USAGE, str(error), error.snippet)
        return None
    except OSError as error:
        report.fail(name, GENERAL, f"{error.filename}: {error.strerror}")
        return None
    steps = [step.preview() for step in plan.steps]
    report.note(name, result="planned" if steps else "unchanged", steps=steps)
    if not steps:
        report.say(f"{name}: nothing to {'remove' if order.is_uninstall else 'change'}")
    for step in steps:
        report.say(_escape_lines(step).rstrip("\n"))
    return plan


def _is_agreed(plans: list[Plan]) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on: look at it with --dry-run, then add --yes")
    hosts = ", ".join(plan.host for plan in plans if plan.steps)
    return click.confirm(f"make these changes for {hosts}?", err=True)


def _carry_out(plan: Plan, order: Order, report: _Report) -> None:
    from raven_mcp.install.files import FailedError, RefusedError

    try:
        tools = plan.carry_out()
    except RefusedError as error:
        report.fail(plan.host, USAGE, str(error))
        return
    except FailedError as error:
        report.fail(plan.host, GENERAL, str(error))
        return
    if order.is_uninstall:
        if plan.steps:
            report.note(plan.host, result="removed")
            report.say(f"{plan.host}: removed")
        return
    if plan.steps:
        report.note(plan.host, result="installed")
    report.note(plan.host, tools=tools, notes=list(plan.notes))
    report.say(f"{plan.host}: ok, {format_count(tools, 'tool')}")
    for note in plan.notes:
        report.say(f"{plan.host}: {note}")


def _installed(scope: str) -> list[str]:
    """Return the hosts that have raven, or traces of it, in a scope."""
    from raven_mcp.install.catalogue import HOSTS

    return [name for name, host in HOSTS.items() if host.installed(scope) is not None]


def _list(as_json: bool) -> int:
    """Print the hosts of this machine, and the installations in them."""
    from raven_mcp.install.catalogue import HOSTS
    from raven_mcp.install.hosts.host import SCOPES

    hosts, rows = [], []
    for name, host in HOSTS.items():
        installations = [one for scope in SCOPES if (one := host.installed(scope)) is not None]
        program = host.program() or (host.folder() if host.is_found() else None)
        hosts.append({"host": name, "found": program, "installed": [one._asdict() for one in installations]})
        if not installations:
            rows.append((name, program or "not found", "no", "-", "-"))
        for one in installations:
            state = "broken" if one.problem else "yes" if one.has_hooks else "no"
            rows.append((name, program or "not found", one.scope, _shortened(one.where), state))
    if as_json:
        echo_json({"hosts": hosts})
        return 0
    echo_table(("HOST", "PROGRAM", "INSTALLED", "WHERE", "HOOKS"), rows)
    missing = [str(host["host"]) for host in hosts if host["found"] and not host["installed"]]
    if missing:
        click.echo(f"install with: raven install {' '.join(missing)}")
    return 0


def _shortened(path: str) -> str:
    home = os.path.expanduser("~") + os.sep
    return f"~/{path.removeprefix(home)}" if path.startswith(home) else path


def _escape_lines(text: str) -> str:
    """Return a diff with the unprintable characters of its lines escaped; tabs stay."""
    return "\n".join("\t".join(map(escape, line.split("\t"))) for line in text.split("\n"))
