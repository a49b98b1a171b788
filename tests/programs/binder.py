"""Make listening sockets for `[PATH, AT]` on each line, at a time of the monotonic clock: `binder.py [UID]`.

Answers null, or the error. After null, the next line removes the socket, and null again says that it is
done; the socket stays in its place, stale.
"""

import json
import os
import sys
import time

from raven import BindError
from raven_rpc.jsonrpc.unix_socket import ListeningSocket

if len(sys.argv) > 1:
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
for line in sys.stdin:
    path, at = json.loads(line)
    while time.monotonic() < at:
        pass
    try:
        place = ListeningSocket(path)
    except BindError as error:
        print(json.dumps(str(error)), flush=True)
        continue
    print("null", flush=True)
    sys.stdin.readline()
    place.socket.close()
    print("null", flush=True)
