"""Run the doctor in a namespace: `doctor.py DB [FOLDER OPTIONS]`.

With a folder, it first mounts a tmpfs with these options there, in a mount namespace that ends with this process. Each
line of input is one of the commands below with its arguments: `["run_checks"]`.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys

from raven import BusClient, RavenError
from raven.config import Config
from raven.doctor.examine import examine

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2


def mount(folder, options):
    """Mount a tmpfs that no other process sees; return the error message, or None."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if not hasattr(libc, "unshare") or libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
        return f"no mount namespace is available: {os.strerror(ctypes.get_errno())}"
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, options.encode()) != 0:
        return f"mount failed: {os.strerror(ctypes.get_errno())}"
    return None


def drop_rights():
    """Apply permissions to this process even as root: drop the capabilities(7) that bypass them."""
    if os.geteuid() != 0:
        return 0
    with open("/proc/self/status") as file:
        permitted = next(int(line.split()[1], 16) for line in file if line.startswith("CapPrm:"))
    kept = permitted & ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    return ctypes.CDLL(None).capset(header, sets)


def use_up_inotify(free):
    """Take all inotify instances, if possible in a user namespace with a low limit; or free them."""
    libc = ctypes.CDLL(None)
    if free:
        while instances:
            os.close(instances.pop())
        return 0
    if libc.unshare(CLONE_NEWUSER) == 0:
        with open("/proc/sys/user/max_inotify_instances", "w") as limit:
            limit.write("5")
    # The instances must run out before the descriptors.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    while (descriptor := libc.inotify_init()) >= 0:
        instances.append(descriptor)
    return len(instances)


def allow_watches(count):
    """Limit the inotify watches, in a user namespace; return the error message, or None."""
    if not entered and ctypes.CDLL(None).unshare(CLONE_NEWUSER) != 0:
        return "no user namespace is available"
    entered.append(True)
    with open("/proc/sys/user/max_inotify_watches", "w") as file:
        file.write(str(count))
    return None


def open_bus():
    """Create or open the bus; return the error message, or None."""
    try:
        BusClient.at("worker:s", db).close()
    except RavenError as error:
        return str(error)
    return None


def fill(path, bytes_left):
    """Create a file that fills its disk up to this many free bytes."""
    with open(path, "wb") as file:
        space = os.statvfs(path)
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - bytes_left)


def run(command):
    """Run a shell command, and return its stderr."""
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=False).stderr


def limit(name, soft):
    """Set a limit of this process, or raise it to the maximum."""
    number = getattr(resource, name)
    _, hard = resource.getrlimit(number)
    resource.setrlimit(number, (hard if soft is None else soft, hard))


def run_checks():
    """Return the doctor's checks."""
    return [check.as_dict() for check in examine(Config(db, "the test"))]


COMMANDS = {
    command.__name__: command
    for command in (open_bus, fill, run, limit, run_checks, drop_rights, use_up_inotify, allow_watches)
}
instances, entered = [], []
db, *disk = sys.argv[1:]
print(json.dumps(mount(*disk) if disk else None), flush=True)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(COMMANDS[name](*arguments)), flush=True)
