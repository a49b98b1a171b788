"""Wait for mail where no descriptor is left, not even for an import: `no_descriptors.py DB ADDRESS`.

It prints whether its listener is deaf, and again once there are descriptors; `logging` is not imported before.
"""

import json
import resource
import sys

from raven.host.bus import HostedBus

db, address = sys.argv[1:]
bus = HostedBus.at(address, db)
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
assert "logging" not in sys.modules
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
waiting = bus.pull_subscription()
waiting.listener.tick()
deaf = [waiting.listener.has_no_fifo]
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
waiting.listener.tick()
deaf.append(waiting.listener.has_no_fifo)
print(json.dumps(deaf), flush=True)
waiting.close()
