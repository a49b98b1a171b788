"""Cut the cable between a host and the server, in network namespaces: `cut_cable FOLDER NATS-SERVER`.

This process, the server and alpha are in one namespace, beta is in another; a veth pair links the two, and nothing
links them to the machine's network. The last line is `{"skipped": why}` or the JSON of a Report.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from scripts.harness.nats_server import NATSServer
from scripts.stress.link.realm import Realm
from scripts.stress.report import Report
from scripts.stress.trial import Round

# unshare(2).
_NEW_NETWORK = 0x40000000
_HUB, _LEAF = "10.77.0.1", "10.77.0.2"
_CUTS_S = (2.0, 14.0)


def main() -> None:
    """Cut the cable twice, once for longer than a relay waits for a silent server."""
    folder, binary = Path(sys.argv[1]), sys.argv[2]
    report = Report()
    with ExitStack() as stack:
        try:
            leaf = _make_network(stack)
        except OSError as error:
            print(json.dumps({"skipped": f"no network namespace: {error.strerror or error}"}), flush=True)
            return
        server = NATSServer(folder / "nats", binary, starts=False)
        server.config = f'listen: "0.0.0.0:{server.port}"'  # only this namespace reaches it
        stack.enter_context(server)
        server.start()
        realm = Realm(cast(Round, report), folder, server.url, stack)
        realm.link("alpha")
        enter = ("nsenter", "-t", str(leaf), "-n", sys.executable, "-m", "raven")
        realm.link("beta", url=f"nats://{_HUB}:{server.port}", command=enter)
        realm.know("beta", "worker:case", "alpha")
        realm.know("alpha", "boss:case", "beta")
        for cut_s in _CUTS_S:
            sent = realm.send("alpha", "worker:case", 10)
            _ip("link", "set", "hub", "down")
            report.count("cables cut")
            sent += realm.send("alpha", "worker:case", 50)
            back = realm.send("beta", "boss:case", 50)
            local = realm.send("alpha", "local:case", 20)
            realm.take("alpha", "local:case", local, "with a cut cable")
            time.sleep(cut_s)
            _ip("link", "set", "hub", "up")
            why = f"after a cut of {cut_s:g} s"
            realm.take("beta", "worker:case", sent, why)
            realm.take("alpha", "boss:case", back, why)
            realm.finish("alpha", sent, why)
            realm.finish("beta", back, why)
            realm.settle(why)
    report.print()


def _make_network(stack: ExitStack) -> int:
    """Enter a new network namespace, linked with a second one; returns the id of a process in that. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not shutil.which("ip") or not shutil.which("nsenter"):
        raise OSError(0, "the commands ip and nsenter are missing")
    if libc.unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    leaf = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
    stack.callback(leaf.wait)
    stack.callback(leaf.kill)
    assert leaf.stdout is not None
    leaf.stdout.readline()
    _ip("link", "set", "lo", "up")
    _ip("link", "add", "hub", "type", "veth", "peer", "name", "leaf")
    _ip("link", "set", "leaf", "netns", str(leaf.pid))
    _ip("addr", "add", f"{_HUB}/24", "dev", "hub")
    _ip("link", "set", "hub", "up")
    _ip("addr", "add", f"{_LEAF}/24", "dev", "leaf", pid=leaf.pid)
    _ip("link", "set", "leaf", "up", pid=leaf.pid)
    return leaf.pid


def _ip(*arguments: str, pid: int = 0) -> None:
    enter = ["nsenter", "-t", str(pid), "-n"] if pid else []
    result = subprocess.run([*enter, "ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise OSError(0, f"ip {' '.join(arguments)}: {result.stderr.strip()}")


if __name__ == "__main__":
    main()
