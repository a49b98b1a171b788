"""File systems: the type of the one that holds a path, and whether SQLite's WAL works on it.

WAL needs shared memory and POSIX locks among the processes of one host. Network file systems do not provide them
(https://sqlite.org/wal.html, "Overview").
"""

from __future__ import annotations

import os
import sys

NETWORK_TYPES = frozenset(
    {"9p", "afpfs", "afs", "ceph", "cifs", "davfs", "fuse.s3fs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs"}
    | {"fuse.ceph", "fuse.davfs2", "fuse.glusterfs", "fuse.rclone", "nfs4", "smb2", "smb3", "smbfs", "webdav"}
)


def filesystem_type(path: str, mounts: str | None = None) -> str:
    """Return the type of the file system that holds `path` (`ext4`, `nfs4`), or `unknown`.

    `mounts` is the text of a mount table; the default is this host's. The innermost mount wins; of several mounts on
    one mount point, the last wins.
    """
    table = _mount_table() if mounts is None else mounts
    entries = _parse_mountinfo(table) if " - " in table else _parse_mount_output(table)
    real = os.path.realpath(path)
    best, kind = "", "unknown"
    for point, mounted in entries:
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, mounted
    return kind


def is_network(kind: str) -> bool:
    """Whether several hosts share a file system of this type."""
    return kind in NETWORK_TYPES


def _mount_table() -> str:
    try:
        if sys.platform == "linux":
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        import subprocess

        return subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def _parse_mountinfo(table: str) -> list[tuple[str, str]]:
    """Read the format of proc(5): fields, ` - `, type, source, options; blanks in paths are octal."""
    entries = []
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")[0]
        if len(fields) > 4 and kind:
            point = fields[4]
            for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
                point = point.replace(code, char)
            entries.append((point, kind))
    return entries


def _parse_mount_output(table: str) -> list[tuple[str, str]]:
    """Read the output of mount(8) on macOS: `SOURCE on POINT (TYPE, OPTIONS)`."""
    entries = []
    for line in table.splitlines():
        left, _, right = line.rpartition(" (")
        _, _, point = left.partition(" on ")
        if point and right:
            entries.append((point, right.rstrip(")").split(",")[0]))
    return entries
