"""Try raven with the real coding agents against a scripted model, and print a table of the outcomes.

The programs come from npm into a folder of the trial. They then run in a network namespace that has nothing but
loopback, with homes of their own, dummy keys and no account.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import raven
from scripts.benchmarks import machine
from scripts.trials.agents import namespace, programs
from scripts.trials.agents.case import try_case
from scripts.trials.agents.catalogue import CASES
from scripts.trials.agents.outcome import Outcome, Results


def main() -> int:
    listed = "\n".join(f"  {name:<18}  {entry.title}" for name, entry in CASES.items())
    parser = argparse.ArgumentParser(
        prog="scripts/try-agents",
        description=__doc__,
        epilog=f"names (default: all):\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a case, see below, or a program: its cases")
    parser.add_argument("--programs", type=Path, default=Path(".agents"), metavar="FOLDER", help="of the npm packages")
    parser.add_argument("--newest", action="store_true", help="the newest versions, not the pinned ones")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep homes, projects and buses in FOLDER")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = [name for given in options.names or CASES for name in _expand(parser, given)]
    folder = options.programs.absolute()
    needed = dict.fromkeys(CASES[name].program for name in names)
    if not options.inside:
        for program in needed:
            print(f"npm install {program} ...", file=sys.stderr, flush=True)
            if error := programs.install(folder, program, "latest" if options.newest else ""):
                print(f"{program} is left out: {error}", file=sys.stderr)
        return _enter()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    namespace.bring_up_loopback()
    versions = {
        program: f"{programs.PROGRAMS[program].title} {programs.installed_version(folder, program)}".strip()
        for program in needed
    }
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    outcomes: dict[str, Outcome] = {}
    results = Results(machine.describe(), today, raven.__version__, versions, outcomes)
    for name in names:
        entry = CASES[name]
        print(f"{name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="rt-", ignore_cleanup_errors=True) as place:
            kept = options.keep / name if options.keep else Path(place)
            kept.mkdir(parents=True, exist_ok=True)
            outcomes[name] = try_case(entry.scenario, entry.title, entry.program, kept.absolute(), folder)
        if options.json:
            options.json.write_text(results.dump(), encoding="utf-8")
    print(results.table())
    return 0 if all(outcome.verdict != "NO" for outcome in outcomes.values()) else 1


def _expand(parser: argparse.ArgumentParser, given: str) -> list[str]:
    """Return the cases of a program, or the case itself."""
    names = [name for name, entry in CASES.items() if given in (name, entry.program)]
    if not names:
        parser.error(f"no case {given!r}: use {', '.join(CASES)}")
    return names


def _enter() -> int:
    """Run this trial again in the namespace; returns its exit code."""
    try:
        command = namespace.enter_command()
    except namespace.UnavailableError as error:
        print(f"skipped: this machine makes no network namespace: {error}")
        return 0
    inside = [*command, sys.executable, "-m", "scripts.trials.agents", "--inside", *sys.argv[1:]]
    return subprocess.run(inside, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
