"""Send a request to a port as another user, and print the answer: `requester.py UID HOST PORT < REQUEST`."""

import encodings.idna  # noqa: F401  (no module can be imported once the user is another)
import os
import socket
import sys

uid, host, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
request = sys.stdin.buffer.read()
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
with socket.create_connection((host, port), 20) as connection:
    connection.sendall(request)
    while data := connection.recv(1 << 16):
        sys.stdout.buffer.write(data)
