"""Test raven's promises under faults, and print a table of the actions and of every broken promise."""

from __future__ import annotations

import argparse
import datetime
import secrets
import signal
import sys
import tempfile
from pathlib import Path

import raven
from scripts.benchmarks import machine
from scripts.stress.catalogue import ALIASES, TRIALS
from scripts.stress.outcome import Outcome, describe, table
from scripts.stress.results import Results


def main() -> int:
    listed = "\n".join(f"  {name:<10}  {entry.seconds:5.0f} s  {entry.summary}" for name, entry in TRIALS.items())
    parser = argparse.ArgumentParser(
        prog="scripts/torture",
        description=__doc__,
        epilog=f"names (default: all) and default durations:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a trial, see below")
    parser.add_argument("--seconds", type=_seconds, metavar="N", help="the duration of each trial")
    parser.add_argument("--seed", type=int, metavar="S", help="the random seed: the same seed repeats the same run")
    parser.add_argument("--rounds", type=int, metavar="N", help="at most N rounds of each trial")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="write the plot of the soak to FILE.svg")
    options = parser.parse_args()
    names = [ALIASES.get(name, name) for name in options.names]
    for name in names:
        if name not in TRIALS:
            parser.error(f"no trial {name!r}: use {', '.join(TRIALS)}")
    # `timeout` and a closed terminal send these: exit normally, so that the trial ends its processes.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    seed = secrets.randbelow(1_000_000_000) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    outcomes: dict[str, Outcome] = {}
    results = Results(machine.describe(), today, raven.__version__, seed, outcomes)
    for name in dict.fromkeys(names or TRIALS):
        entry = TRIALS[name]
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="raven-torture-", ignore_cleanup_errors=True) as folder:
            outcomes[name] = entry.run(
                Path(folder), seconds=options.seconds or entry.seconds, seed=seed, rounds=options.rounds
            )
        for line in describe(name, outcomes[name]):
            print(line, flush=True)
        # Write the results after each trial, so that an interrupted run keeps them.
        if options.json:
            options.json.write_text(results.dump(), encoding="utf-8")
        if options.plot and outcomes[name].plot:
            options.plot.write_text(outcomes[name].plot, encoding="utf-8")
    print(table(outcomes))
    return 0 if all(outcome.is_clean for outcome in outcomes.values()) else 1


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 1_000_000:
        raise ValueError
    return seconds


if __name__ == "__main__":
    sys.exit(main())
