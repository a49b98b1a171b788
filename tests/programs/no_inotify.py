"""Use up the user's inotify instances, then listen: `no_inotify.py DB ADDRESS`.

Where the system allows it, in a user namespace whose limit is 0, so that no other program on this machine runs short.
"""

import contextlib
import ctypes
import json
import resource
import sys

from raven import BusClient

CLONE_NEWUSER = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(CLONE_NEWUSER) == 0:
    with contextlib.suppress(OSError), open("/proc/sys/user/max_inotify_instances", "w") as limit:
        limit.write("0")
# The instances shall run out, not the descriptors.
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
while libc.inotify_init() >= 0:
    pass
db, address = sys.argv[1:]
for message in BusClient.at(address, db).listen(poll_interval_s=60):
    print(json.dumps(message.body), flush=True)
