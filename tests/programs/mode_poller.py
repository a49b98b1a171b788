"""Note the modes that a path is seen with, until a line comes in, and answer with them: `mode_poller.py PATH`."""

import json
import os
import stat
import sys
import threading
from contextlib import suppress

path = sys.argv[1]
modes: set[str] = set()
checks = 0
ended = threading.Event()
print("1", flush=True)
threading.Thread(target=lambda: (sys.stdin.readline(), ended.set()), daemon=True).start()
while not ended.is_set():
    with suppress(FileNotFoundError):
        modes.add(oct(stat.S_IMODE(os.lstat(path).st_mode)))
    checks += 1
print(json.dumps([sorted(modes), checks]), flush=True)
