"""The `raven` command as a process: from its start to its exit code."""

from __future__ import annotations

import gc
import sys

# A short command allocates fewer objects than this, nearly all of them by its imports and for good. Collecting garbage
# among them again and again takes a tenth of its time.
_GC_THRESHOLD = 50_000
_INTERRUPTED = 130  # raven.cli.exit_codes has all
# Programs of coding agents start these often: the import of click would take half of their time.
_WITHOUT_CLICK = ("mcp", "hook")
# Python's own thresholds, which suit a process that serves many requests.
DEFAULT_GC_THRESHOLDS = gc.get_threshold()


def main() -> None:
    """Run the command line, and exit."""
    gc.set_threshold(_GC_THRESHOLD)
    try:
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        # After a Ctrl-C inside the `exec` of a text, as dataclasses and named tuples do at their import, Python ends
        # itself by the signal though the exception was caught. The next text makes it forget that.
        exec("")  # noqa: S102
    # The process ends here: skip the last collection.
    gc.freeze()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    # Imported only now: the collector would search the objects of an earlier import.
    if arguments[:1] and arguments[0] in _WITHOUT_CLICK and not {"-h", "--help"}.intersection(arguments):
        from raven_mcp.command import main as run_without_click

        return run_without_click(arguments)
    from raven.cli.app import run

    return run(arguments)
