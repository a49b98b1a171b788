"""Run the benchmarks that are named, or all, and print one table."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from scripts.benchmarks import claim, idle, outbox, rpc, send, startup, wake
from scripts.benchmarks.result import Result

BENCHMARKS: dict[str, Callable[[Path, bool], list[Result]]] = {
    "send": send.run,
    "claim": claim.run,
    "wake": wake.run_one,
    "crowd": wake.run_crowd,
    "idle": idle.run,
    "outbox": outbox.run,
    "startup": startup.run,
    "rpc-trip": rpc.run_trip,
    "rpc-group": rpc.run_group,
    "rpc-wake": rpc.run_wake,
    "rpc-idle": rpc.run_idle,
    "rpc-stall": rpc.run_stall,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rougher figures")
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}: use {', '.join(BENCHMARKS)}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{os.cpu_count()}-core {platform.machine()} {platform.system()}, {memory:.0f} GiB,", end=" ")
    print(f"Python {platform.python_version()}; medians unless said otherwise\n")
    results: list[Result] = []
    for name in options.names or BENCHMARKS:
        print(f"  measuring {name} ...", end="\r", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="raven-bench-") as folder:
            results += BENCHMARKS[name](Path(folder), options.quick)
    width = max(len(result.what) for result in results)
    print(f"{'what':<{width}}  {'figure':<34}  {'bar':<26}  met")
    for result in results:
        print(f"{result.what:<{width}}  {result.figure:<34}  {result.bar:<26}  {'yes' if result.met else 'NO'}")


if __name__ == "__main__":
    main()
