"""Connect to a socket as another user, ping, and print the outcome: `connector.py UID SOCKET`."""

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
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
    connection.settimeout(20)
    try:
        connection.connect(os.path.basename(path))
    except PermissionError:
        print('"not permitted"', flush=True)
        sys.exit()
    try:
        connection.sendall(b'{"jsonrpc":"2.0","method":"ping","id":1}\n')
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # refused before it could ask
    data = b""
    try:
        while more := connection.recv(1 << 16):
            data += more
    except ConnectionResetError:
        pass  # closed with the request unread
print(json.dumps([json.loads(line) for line in data.splitlines()]), flush=True)
