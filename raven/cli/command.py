"""Commands whose help ends with their exit codes and one example, which a test runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


class Documented(click.Command):
    """A command with an example, and with the exit codes that mean something special for it."""

    def __init__(
        self, *args: Any, example: str, exit_codes: Mapping[int, str] | None = None, **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.example = example
        self.exit_codes = dict(exit_codes or {})

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes and the example; the example stays one line, so that a shell takes it as it stands."""
        if self.exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_dl([(str(code), meaning) for code, meaning in self.exit_codes.items()])
        with formatter.section("Example"):
            formatter.write(f"  {self.example}\n")


class DocumentedGroup(Documented, click.Group):
    """A group of commands with an example."""
