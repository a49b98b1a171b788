"""Listen at a socket as another user, and print each line that a client sends: `listener.py UID SOCKET`."""

import json
import os
import socket
import sys

uid, path = int(sys.argv[1]), sys.argv[2]
# From within its folder: those above it may be closed to the other user.
os.chdir(os.path.dirname(path))
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listening.bind(os.path.basename(path))
os.chmod(os.path.basename(path), 0o666)
listening.listen()
print('"listening"', flush=True)
while True:
    connection, _ = listening.accept()
    with connection, connection.makefile("rb") as lines:
        received = lines.readline()
        print(json.dumps(received.decode()), flush=True)
        if received:
            reply = {"jsonrpc": "2.0", "id": json.loads(received)["id"], "result": "pong"}
            connection.sendall(json.dumps(reply).encode() + b"\n")
