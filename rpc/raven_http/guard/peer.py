"""Peer: the user whose process is at the other end of a connection within this host, as the kernel knows it.

Linux tells it by a query of NETLINK_SOCK_DIAG: sock_diag(7). Other systems, and clients on other hosts, have no answer.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST = 1  # NLM_F_REQUEST
_ANY_STATE = 0xFFFFFFFF
# struct nlmsghdr: length, type, flags, sequence, port.
_HEADER = struct.Struct("=IHHII")
# struct inet_diag_req_v2 up to its addresses: family, protocol, extensions, padding, states; ports as on the wire.
_QUERY = struct.Struct("=BBBBI")
_PORTS = struct.Struct("!HH")
# The rest: the interface, and a cookie that means any socket.
_END = struct.Struct("=III")
# struct inet_diag_msg: four bytes, the 48 bytes of the socket's identity, expiry, two queues; then user and inode.
_USER = struct.Struct("=II")
_USER_AT = _HEADER.size + 4 + 48 + 12


def uid_of(client: tuple[str, int] | None, server: tuple[str, int | None] | None) -> int | None:
    """Return the uid of the process at `client`, connected to `server`, both as address and port; None if unknown."""
    if client is None or server is None or server[1] is None or sys.platform != "linux":
        return None
    with suppress(OSError, ValueError, struct.error):
        family = socket.AF_INET6 if ":" in client[0] else socket.AF_INET
        addresses = b"".join(socket.inet_pton(family, host).ljust(16, b"\0") for host in (client[0], server[0]))
        query = (
            _QUERY.pack(family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE)
            + _PORTS.pack(client[1], server[1])
            + addresses
            + _END.pack(0, 0xFFFFFFFF, 0xFFFFFFFF)
        )
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
            kernel.settimeout(1)
            kernel.send(_HEADER.pack(_HEADER.size + len(query), _BY_FAMILY, _REQUEST, 1, 0) + query)
            answer = kernel.recv(4096)
        if _HEADER.unpack_from(answer)[1] == _BY_FAMILY:
            uid, inode = _USER.unpack_from(answer, _USER_AT)
            # A socket that its process has closed has no inode, and not always the right user.
            return int(uid) if inode else None
    return None
