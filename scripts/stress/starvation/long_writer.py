"""Make long transactions without a pause until a line comes: `python -m scripts.stress.starvation.long_writer DB N S`.

N is the number of the process, S the seconds of each transaction. It prints its report in the end.
"""

from __future__ import annotations

import select
import sys
import time

from raven import BusClient, RavenError
from scripts.stress.report import Report


def main(db: str, number: str, seconds: str) -> None:
    report = Report()
    with BusClient.at(f"long-{number}:writers", db) as bus:
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            try:
                with bus.transaction() as tx:
                    tx.send("sink:s", "note")
                    time.sleep(float(seconds))
                report.count("long transactions")
            except RavenError as error:
                report.report("broken", f"a long transaction failed: {error!r}")
    report.print()


if __name__ == "__main__":
    main(*sys.argv[1:])
