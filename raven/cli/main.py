"""The `raven` command as a process: from its start to its exit code."""

from __future__ import annotations

import gc
import sys

# A short command makes fewer objects than these, nearly all of them by its imports and for good: to search them for
# garbage again and again takes a tenth of its time.
_COLLECT_AFTER = 50_000
# How often Python searches by itself, which is better for what serves many requests.
STANDARD = gc.get_threshold()


def main() -> None:
    """Run the command line, and exit."""
    gc.set_threshold(_COLLECT_AFTER)
    # Only now: what is imported before it is searched.
    from raven.cli.app import run

    code = run(sys.argv[1:])
    # The process ends here: spare it a last search.
    gc.freeze()
    sys.exit(code)
