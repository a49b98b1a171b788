"""Measure raven against its floors and its peers, and print one table."""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
import tempfile
import time
from pathlib import Path

import raven
from scripts.benchmarks import machine, plot
from scripts.benchmarks.catalogue import BENCHMARKS
from scripts.benchmarks.figure import Figure
from scripts.benchmarks.report import Report


def main() -> None:
    names = "\n".join(f"  {name:<10}  {benchmark.what}" for name, benchmark in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        epilog=f"names (default: all):\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which, see below")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rougher figures")
    parser.add_argument("--json", metavar="FILE", type=_writable, help="write every round of every figure there, too")
    parser.add_argument("--plot", metavar="FILE.svg", type=_writable, help="draw the comparisons there")
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}: use {', '.join(BENCHMARKS)}")
    # What a benchmark has started ends with it, also where `timeout` or a terminal that closes ends the benchmark.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: sys.exit(128 + got))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    report = Report(machine.describe(), today, raven.__version__, options.quick, {})
    print(f"{report.machine}, raven {report.raven}{', quick' if options.quick else ''}\n", flush=True)
    chosen = list(dict.fromkeys(options.names or BENCHMARKS))
    for number, name in enumerate(chosen, 1):
        report.figures[name] = _measure(name, f"[{number}/{len(chosen)}] {name}", options.quick)
        # After each, so that a run which is broken off has not been for nothing.
        if options.json:
            options.json.write_text(report.dump(), encoding="utf-8")
    print(report.table())
    for note in report.notes():
        print(f"- {note}")
    if options.plot:
        options.plot.write_text(plot.draw(report), encoding="utf-8")


def _measure(name: str, progress: str, quick: bool) -> list[Figure]:
    print(f"{progress} ...", end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="raven-bench-") as folder:
        found = BENCHMARKS[name].run(Path(folder), quick)
    print(f"{progress}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return found


def _writable(text: str) -> Path:
    """Find out before an hour of measuring whether a file can be written."""
    path = Path(text)
    try:
        path.open("ab").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from None
    return path


if __name__ == "__main__":
    main()
