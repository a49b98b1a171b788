"""Fill the disk of one of two linked hosts, and free it again: `full_disk FOLDER NATS-SERVER`.

The last line is `{"skipped": why}` or the JSON of a Report.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from raven import BusClient
from scripts.harness.nats_server import NATSServer
from scripts.stress.disk.small_disk import NoMountsError, SmallDisk
from scripts.stress.link.realm import Realm
from scripts.stress.report import Report
from scripts.stress.trial import Round

_SIZE = 6 << 20
_FULL_S = 4.0
_BODY = "x" * 20_000


def main() -> None:
    """Fill the disk of beta, send to it, and free it."""
    folder, binary = Path(sys.argv[1]), sys.argv[2]
    (folder / "beta").mkdir()
    try:
        disk = SmallDisk(str(folder / "beta"), size=_SIZE)
    except NoMountsError as error:
        print(json.dumps({"skipped": str(error)}), flush=True)
        return
    report = Report()
    with ExitStack() as stack:
        server = stack.enter_context(NATSServer(folder / "nats", binary))
        realm = Realm(cast(Round, report), folder, server.url, stack)
        for host in ("alpha", "beta"):
            realm.link(host)
        pid = realm.relays["beta"].pid
        realm.know("beta", "worker:case", "alpha")
        sent = realm.send("alpha", "worker:case", 10)
        realm.take("beta", "worker:case", sent, "before the disk is full")
        disk.fill()
        report.count("full disks of a receiving host")
        sent = realm.send("alpha", "worker:case", 100, tags=["full"], task_id=_BODY[:100])
        local = realm.send("alpha", "local:case", 20)
        began = time.monotonic()
        realm.take("alpha", "local:case", local, "beside a host with a full disk")
        time.sleep(max(0.0, _FULL_S - (time.monotonic() - began)))
        with BusClient.at("sender:alpha", realm.db("alpha")) as bus:
            states = {bus.receipts(id)[0].state for _, id in sent}
        report.expect(states <= {"sent", "delivered"}, f"with a full disk of beta the receipts were {states}")
        disk.make_room()
        realm.take("beta", "worker:case", sent, "after the disk was full")
        realm.finish("alpha", sent, "after the disk was full")
        realm.settle("after the disk was full")
        relay = realm.relays["beta"]
        report.expect(relay.pid == pid and not relay.has_ended, f"the relay has ended: {relay.log()[-400:]}")
    os.sync()
    report.print()


if __name__ == "__main__":
    main()
