"""File systems: mount tables of Linux and macOS, in the formats of their manuals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raven import NetworkFilesystemError
from raven.store import file, filesystem
from raven.store.filesystem import filesystem_type, is_network

MOUNTINFO = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard
23 22 0:21 / /proc rw,nosuid - proc proc rw
40 22 0:35 / /zz/net rw,relatime shared:20 master:3 - nfs4 server:/export rw,vers=4.2,addr=10.0.0.1
41 40 254:2 / /zz/net/local rw - xfs /dev/vdb rw
42 22 0:36 / /zz/with\\040blank rw - cifs //server/share rw
43 22 0:37 / /zz/tab\\011new\\012line\\134back\\134040slash rw - fuse.sshfs host: rw
44 22 0:38 / /zz/stacked rw - ext4 /dev/vdc rw
45 44 0:39 / /zz/stacked rw - nfs server:/x rw
46 22 0:40 / /zz/hidden rw - 9p host rw
47 46 0:41 / /zz/hidden rw - tmpfs tmpfs rw
"""

MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)
//me@server/share on /Volumes/Team Share (smbfs, nodev, nosuid, mounted by me)
server:/export on /zz/net (nfs, nodev, nosuid)
/dev/disk5s1 on /Volumes/Stick (1) (exfat, local, noowners)
"""


@pytest.mark.parametrize(
    ("table", "path", "kind"),
    [
        (MOUNTINFO, "/", "ext4"),
        (MOUNTINFO, "/zz", "ext4"),
        (MOUNTINFO, "/zz/network", "ext4"),
        (MOUNTINFO, "/zz/net", "nfs4"),
        (MOUNTINFO, "/zz/net/a/b", "nfs4"),
        (MOUNTINFO, "/zz/net/local", "xfs"),
        (MOUNTINFO, "/zz/net/local/a", "xfs"),
        (MOUNTINFO, "/zz/net/locals", "nfs4"),
        (MOUNTINFO, "/zz/with blank/a", "cifs"),
        (MOUNTINFO, "/zz/with", "ext4"),
        (MOUNTINFO, "/zz/tab\tnew\nline\\back\\040slash/a", "fuse.sshfs"),
        (MOUNTINFO, "/zz/stacked/a", "nfs"),
        (MOUNTINFO, "/zz/hidden/a", "tmpfs"),
        (MACOS, "/", "apfs"),
        (MACOS, "/Users/me", "apfs"),
        (MACOS, "/Volumes/Team Share/bus", "smbfs"),
        (MACOS, "/zz/net/a", "nfs"),
        (MACOS, "/zz/network", "apfs"),
        (MACOS, "/Volumes/Stick (1)/a", "exfat"),
    ],
)
def test_the_innermost_mount_wins_and_of_stacked_mounts_the_last(table: str, path: str, kind: str) -> None:
    assert filesystem_type(path, table) == kind


@pytest.mark.parametrize("table", ["", "\n\n", "nonsense", "a - b", "1 2 3 - ext4 x"])
def test_an_empty_table_leaves_the_type_unknown(table: str) -> None:
    assert filesystem_type("/zz", table) == "unknown"
    assert not is_network("unknown")


def test_a_link_into_a_mount_counts_as_inside_it(tmp_path: Path) -> None:
    real = tmp_path.resolve() / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    table = f"1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {real} rw - nfs x rw\n"

    assert filesystem_type(str(tmp_path / "link"), table) == "nfs"
    assert filesystem_type(str(tmp_path), table) == "ext4"


NETWORK = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "afpfs", "webdav"]
LOCAL = ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "hfs", "fuseblk", "exfat"]


@pytest.mark.parametrize("kind", [*NETWORK, *LOCAL])
def test_network_types_are_distinguished_from_local_ones(kind: str) -> None:
    assert is_network(kind) == (kind in NETWORK)


def test_the_table_of_this_host_is_read() -> None:
    assert filesystem_type("/") != "unknown"
    if sys.platform == "linux":
        assert filesystem_type("/proc/self") == "proc"


def test_a_bus_on_a_network_file_system_is_refused_before_it_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "NETWORK_TYPES", frozenset({filesystem.filesystem_type(str(tmp_path))}))

    with pytest.raises(NetworkFilesystemError, match="use a local disk"):
        file.prepare(str(tmp_path / "bus.db"), create=True)

    assert not list(tmp_path.iterdir())
