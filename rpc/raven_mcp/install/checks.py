"""Checks: whether the installation of raven in each host works, as `raven doctor` shows it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from raven.doctor.report import Check, Finding, command, summarize
from raven_mcp.install.catalogue import HOSTS
from raven_mcp.install.entries import Program
from raven_mcp.install.files import FailedError, RefusedError
from raven_mcp.install.handshake import count_tools
from raven_mcp.install.hosts.host import SCOPES, Host, Installed
from raven_mcp.install.plan import Order


def check_hosts() -> Iterator[Check]:
    """Check each installation of this user and of this folder; a host without raven yields nothing."""
    for host in HOSTS.values():
        for scope in SCOPES:
            try:
                installed = host.installed(scope)
            except OSError as error:
                problem = f"{error.filename} cannot be read: {error.strerror}"
                yield Check(host.name, "warn", problem, "let this user read it")
                continue
            if installed is not None:
                yield _check(host, installed)


def _check(host: Host, installed: Installed) -> Check:
    again = command("raven", "install", host.name, *(("--scope", installed.scope) if installed.scope != "user" else ()))
    name = host.name if installed.scope == "user" else f"{host.name} ({installed.scope})"
    if installed.problem:
        return Check(name, "warn", installed.problem, f"repair that file, or run {again}")
    findings = []
    try:
        tools = count_tools(installed.server)
    except FailedError as error:
        findings.append(Finding("fail", str(error), again))
        tools = 0
    if host.program() is None:
        names = " or ".join(host.programs)
        findings.append(Finding("warn", f"{names} is not on PATH", f"install it, or run {again[:-1]} --uninstall`"))
    findings += [*_outdated(host, installed, again), *_untrusted(host, installed), *_socket(host)]
    parts = f"{tools} tool{'' if tools == 1 else 's'}, {'hooks' if installed.has_hooks else 'no hooks'}"
    return summarize(name, findings, f"{installed.where}: {parts}")


def _outdated(host: Host, installed: Installed, again: str) -> Iterator[Finding]:
    """Yield a finding if this raven would write other entries for the same command."""
    words = installed.server
    if not words or os.path.basename(words[0]) != "raven":
        return
    order = Order(Program(words[0]), installed.scope, hooks=installed.has_hooks)
    try:
        if host.steps(order):
            yield Finding("warn", f"{installed.where} has entries of another version of raven", again)
    except (RefusedError, OSError) as error:
        yield Finding("warn", str(error), "repair that file")


def _untrusted(host: Host, installed: Installed) -> Iterator[Finding]:
    if installed.has_hooks and host.has_untrusted_hooks():
        problem = f"{host.name} does not run the hooks, since you have not trusted them"
        yield Finding("warn", problem, f"open `{host.programs[0]}` once and trust the hooks with /hooks")


def _socket(host: Host) -> Iterator[Finding]:
    """Yield a finding if this process runs inside of a session that has no socket to be woken by."""
    if host.name != "claude-code" or not os.environ.get("CLAUDE_CODE_SESSION_ID"):
        return
    path = os.environ.get("CLAUDE_CODE_MESSAGING_SOCKET")
    if not path or not os.path.exists(path):
        problem = "this session has no inbox socket: raven cannot wake it while it is idle"
        yield Finding("warn", problem, "call the tool inbox with wait_s when you expect mail")
