"""Run an endless statement of its own: `user_sql.py DB {alone|transaction} SQL`.

It prints a line when the statement runs. When a signal has ended it, it prints the kind of the exception, and how many
rows and messages there are. SIGUSR1 raises an exception of the program's own, of a kind that wrong parameters raise.
"""

import json
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from raven import BusClient
from raven.wake.sigterm import raise_on_sigterm
from tests.support import wait_until

db, way, sql = sys.argv[1:]


class OwnError(ValueError):
    pass


def handle(number: int, frame: FrameType | None) -> NoReturn:
    raise OwnError(number)


def is_in_user_sql() -> bool:
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return "authorizer.py" in frame.f_code.co_filename


def announce() -> None:
    wait_until(is_in_user_sql, "the statement", every_s=0.1)
    print(json.dumps("runs"), flush=True)


bus = BusClient.at("worker:s", db)
raise_on_sigterm()
signal.signal(signal.SIGUSR1, handle)
threading.Thread(target=announce, daemon=True).start()
try:
    if way == "alone":
        bus.execute(sql)
    with bus.transaction() as tx:
        tx.send("worker:s", "note")
        tx.execute("INSERT INTO own VALUES (1)")
        tx.execute(sql)
except BaseException as error:
    print(json.dumps([type(error).__name__, len(bus.execute("SELECT * FROM own")), len(bus.inbox())]), flush=True)
