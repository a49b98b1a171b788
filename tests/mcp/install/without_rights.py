"""Run a command to which permissions apply, also as root: `without_rights.py COMMAND...`."""

import ctypes
import os
import sys

CAPABILITY_VERSION_3 = 0x20080522
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS, SECBIT_NOROOT = 28, 1

if os.geteuid() == 0:
    libc = ctypes.CDLL(None)
    # Root gets all rights back at an exec, unless it is told that it is no longer special.
    libc.prctl(PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)(0, 0, 0, 0, 0, 0))
os.execv(sys.argv[1], sys.argv[1:])
