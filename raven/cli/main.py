"""The `raven` command as a process: from its start to its exit code."""

from __future__ import annotations

import gc
import sys

# A short command allocates fewer objects than this, nearly all of them by its imports and for good. Collecting garbage
# among them again and again takes a tenth of its time.
_GC_THRESHOLD = 50_000
# Python's own thresholds, which suit a process that serves many requests.
DEFAULT_GC_THRESHOLDS = gc.get_threshold()


def main() -> None:
    """Run the command line, and exit."""
    gc.set_threshold(_GC_THRESHOLD)
    # Imported only now: the collector would search the objects of an earlier import.
    from raven.cli.app import run

    code = run(sys.argv[1:])
    # The process ends here: skip the last collection.
    gc.freeze()
    sys.exit(code)
