"""Catalogue: the hosts that raven can be installed into, by name."""

from __future__ import annotations

from raven_mcp.install.hosts.claude_code import ClaudeCode
from raven_mcp.install.hosts.codex import Codex
from raven_mcp.install.hosts.cursor import Cursor
from raven_mcp.install.hosts.gemini import Gemini
from raven_mcp.install.hosts.host import Host
from raven_mcp.install.hosts.opencode import OpenCode

HOSTS: dict[str, Host] = {host.name: host for host in (ClaudeCode(), Codex(), Gemini(), OpenCode(), Cursor())}
