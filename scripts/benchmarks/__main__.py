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
from scripts.benchmarks.metric import Metric
from scripts.benchmarks.report import Report


def main() -> None:
    names = "\n".join(f"  {name:<10}  {benchmark.description}" for name, benchmark in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        epilog=f"names (default: all):\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="the benchmarks to run, see below")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, rougher values")
    parser.add_argument("--json", metavar="FILE", type=_writable, help="also write every round of every metric to FILE")
    parser.add_argument("--plot", metavar="FILE.svg", type=_writable, help="draw the comparisons into FILE.svg")
    parser.add_argument("--summary", metavar="FILE.svg", type=_writable, help="draw a few of them into FILE.svg")
    options = parser.parse_args()
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}: use {', '.join(BENCHMARKS)}")
    # The processes of a benchmark end with it, even if `timeout` or a closed terminal ends the benchmark.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    report = Report(machine.describe(), today, raven.__version__, options.quick, {})
    print(f"{report.machine}, raven {report.raven}{', quick' if options.quick else ''}\n", flush=True)
    chosen = list(dict.fromkeys(options.names or BENCHMARKS))
    for number, name in enumerate(chosen, 1):
        report.metrics[name] = _measure(name, f"[{number}/{len(chosen)}] {name}", options.quick)
        # After each benchmark, so that an interrupted run keeps its results.
        if options.json:
            options.json.write_text(report.dump(), encoding="utf-8")
    print(report.table())
    for note in report.notes():
        print(f"- {note}")
    if options.plot:
        options.plot.write_text(plot.draw(report), encoding="utf-8")
    if options.summary:
        options.summary.write_text(plot.draw_summary(report), encoding="utf-8")


def _measure(name: str, progress: str, quick: bool) -> list[Metric]:
    print(f"{progress} ...", end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="raven-bench-") as folder:
        metrics = BENCHMARKS[name].run(Path(folder), quick)
    print(f"{progress}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return metrics


def _writable(text: str) -> Path:
    """Return the path of a file after a check that it can be opened for writing; a run takes up to an hour."""
    path = Path(text)
    try:
        path.open("ab").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from None
    return path


if __name__ == "__main__":
    main()
