"""The command `raven hook EVENT --host HOST`: tells a host's model of mail that waits, where only a command can.

It is started at each event, so it imports neither click nor the client, and reads the bus by one statement. It never
disturbs the host: it ends within two seconds with exit code 0, and after an error it writes `{}`, and one line on
stderr.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from raven import config
from raven.errors import InputError, RavenError, abbreviate
from raven_mcp.hooks import answers, host_input
from raven_mcp.hooks.reader import Reader, SessionMail
from raven_mcp.hooks.wakes import Wakes
from raven_mcp.session import notice
from raven_mcp.session.announced import Announced

USAGE = "use `raven hook EVENT --host HOST [--db PATH]`"
WAIT = "wait"
# The exit code by which a host's hook wakes an idle session.
_WAKES = 2
_LIMIT_S = 1.7
_INPUT_TIMEOUT_S = 1.0


class HookOptions(NamedTuple):
    """The command line of a hook."""

    event: str
    host: str
    db: str | None = None


def main(argv: Sequence[str]) -> int:
    """Run the command; `argv` is what follows `raven hook`. Returns the exit code: 0, or 2 of a wait that has mail."""
    _fill_standard_descriptors()
    answer: dict[str, Any] = {}
    try:
        options = parse_options(argv)
        signal.signal(signal.SIGALRM, _out_of_time)
        signal.setitimer(signal.ITIMER_REAL, _LIMIT_S)
        given = host_input.read(0, _INPUT_TIMEOUT_S)
        if options.event == WAIT:
            return _wait(options, given)
        answer = answer_to(options, given)
    except RavenError as error:
        complain(str(error))
    except Exception as error:  # a host goes on whatever its hook meets
        complain(f"{type(error).__name__}: {error}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    with suppress(OSError):
        os.write(1, json.dumps(answer, separators=(",", ":")).encode("ascii") + b"\n")
    return 0


def answer_to(options: HookOptions, given: host_input.HostInput) -> dict[str, Any]:
    """Return the answer of a hook to its host's input."""
    kind = answers.kind_of(options.event)
    # The host's own name of the event, which its answer repeats, is in its input.
    event = given.event if given.event and answers.kind_of(given.event) == kind else options.event
    if given.is_subagent or given.is_over or kind is None:
        return {}
    if kind == answers.SESSION_END:
        _forget(options, given)
        return {}
    if not answers.can_show(options.host, event):
        return {}
    db = _find_bus(options, given)
    session = Reader(db, options.host, given.session).look()
    text = None if session is None else _notice(db, session, kind, given)
    return answers.render(options.host, event, text)


def _wait(options: HookOptions, given: host_input.HostInput) -> int:
    """Wait until mail comes or the session ends; return the exit code."""
    from raven_mcp.hooks.wait import wait_for_mail

    db = _find_bus(options, given)
    signal.setitimer(signal.ITIMER_REAL, 0)
    text = None if given.is_subagent else wait_for_mail(db, options.host, given.session)
    if text is None:
        return 0
    with suppress(OSError):
        os.write(2, f"{text}\n".encode("ascii"))
    return _WAKES


def _find_bus(options: HookOptions, given: host_input.HostInput) -> str:
    """Return the path of the bus; the search for raven.yaml begins in the folder of the session."""
    folder = given.folder if given.folder and os.path.isdir(given.folder) else None
    return os.path.realpath(config.load(options.db, folder).db)


def parse_options(argv: Sequence[str]) -> HookOptions:
    """Return the options of a command line; raises InputError that names the bad word."""
    words: list[str] = []
    options: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--host", "--db"):
            if not equals and not rest:
                raise InputError(f"{name} needs a value: {USAGE}")
            options[name] = value if equals else rest.pop(0)
        elif word.startswith("-"):
            raise InputError(f"the option {abbreviate(word)} is not known: {USAGE}")
        else:
            words.append(word)
    if len(words) != 1:
        raise InputError(f"{len(words)} events are given, but one is needed: {USAGE}")
    host = options.get("--host", "")
    if host not in answers.HOSTS:
        raise InputError(f"the host {abbreviate(host)} is not known: use {', '.join(answers.HOSTS)}")
    if words[0] != WAIT and answers.kind_of(words[0]) is None:
        raise InputError(
            f"the event {abbreviate(words[0])} is not known: use {', '.join(answers.KINDS)}, {WAIT}, or a host's name "
            "for one"
        )
    return HookOptions(words[0], host, options.get("--db"))


def complain(text: str) -> None:
    """Write one line on stderr."""
    line = " ".join(text.split())
    with suppress(OSError):
        os.write(2, f"raven hook: {line}\n".encode("utf-8", "backslashreplace"))


def _notice(db: str, session: SessionMail, kind: str, given: host_input.HostInput) -> str | None:
    """Return the text about the mail that the session has not heard of and that its state lets through."""
    announced, wakes = Announced(db, session.native_id), Wakes(db, session.native_id)
    if kind == answers.SESSION_START:
        announced.forget()  # a resumed or compacted session may not remember
    is_again = kind == answers.STOP and given.is_active
    if kind == answers.STOP and not wakes.may_wake(again=is_again):
        return None
    due = [mail for mail in session.mail if notice.is_due(kind, mail.urgency, is_active=given.is_active)]
    # A hook that cannot note what it told would tell it after every tool, and never let a turn end.
    new = set(announced.claim((mail.id for mail in due), lasting=kind in (answers.AFTER_TOOL, answers.STOP)))
    if new and kind == answers.STOP:
        wakes.woke(again=is_again)
    return notice.compose([mail for mail in due if mail.id in new]) if new else None


def _forget(options: HookOptions, given: host_input.HostInput) -> None:
    """Remove the files of a session that ends."""
    if given.session:
        db = _find_bus(options, given)
        Announced(db, given.session).forget()
        Wakes(db, given.session).forget()


def _fill_standard_descriptors() -> None:
    """Open /dev/null in place of closed standard streams, so that no file of the bus gets their numbers."""
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        while os.open(os.devnull, os.O_RDWR) < 2:
            pass


def _out_of_time(number: int, frame: object) -> None:
    # No OSError, which a read of the input takes for its end.
    raise RavenError(f"the hook has no answer after {_LIMIT_S:g} s: see `raven doctor`")
