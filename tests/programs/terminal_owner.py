"""Run a command as the owner of the terminal at its input, which then sends it signals: `terminal_owner.py CMD...`."""

import fcntl
import os
import sys
import termios

os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
