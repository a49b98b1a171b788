"""Fork while a listener waits; the child makes another, and both say how many watch: `forked_watch.py DB`.

It forks at the first line of input, the parent closes its listener at the second, the child its own at the third.
"""

import json
import os
import sys
import threading

from raven.host.bus import HostedBus


def watching() -> int:
    return sum(thread.name == "raven-wal-watcher" and thread.is_alive() for thread in threading.enumerate())


def say(who: str) -> None:
    print(json.dumps({who: watching()}), flush=True)


bus = HostedBus.at("worker:s", sys.argv[1])
parents = bus.pull_subscription()
say("parent")
os.read(0, 16)  # unbuffered: the next read takes the next line
child_may_go_on, parent_has_closed = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(parent_has_closed)
    childs = bus.pull_subscription()
    say("child beside its parent")
    os.read(child_may_go_on, 1)
    childs.listener.tick()
    say("child alone")
    os.read(0, 16)
    childs.close()
    say("child at its end")
    os._exit(0)
os.close(child_may_go_on)
os.read(0, 16)
parents.close()
say("parent at its end")
os.close(parent_has_closed)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
