"""Atomic blocks: one transaction around many writes of one thread and task, each of which can still fail alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from functools import partial
from types import GeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from weakref import ref

from raven.errors import BusyError, DatabaseError, InputError
from raven.store.block import AbandonedError, Block, run_actions
from raven.store.checkpoint import BEGINS
from raven.store.connection import SqliteError
from raven.store.database import Store


class _Method:
    """A method of Atomic that `with` gets as a callable of C code, before it enters the block."""

    def __init__(self, make: Callable[[Atomic], Callable[..., Any]]) -> None:
        self._make = make

    def __get__(self, atomic: Atomic | None, owner: type[Atomic]) -> Callable[..., Any]:
        if atomic is None:  # contextlib.ExitStack asks the class
            return lambda atomic, *args: self._make(atomic)(*args)
        return self._make(atomic)


class Atomic:
    """From enter to exit, every write of this thread and asyncio task on the store is part of one commit.

    A write that raises is undone alone; an exception that leaves the block undoes all of them. Doorbells ring only
    after the commit. Blocks nest. A block that is dropped before its end is undone, in any thread. `on_implicit_join`
    is called for each write that joins the block without using its methods.
    """

    _block: Block | None = None
    # It yields this object to `with`; at the end of the block it gets the type of the exception, or None.
    _running: GeneratorType[Any, Any, None] | None = None

    def __init__(self, store: Store, on_implicit_join: Callable[[], None] | None = None) -> None:
        self._store = store
        self._on_implicit_join = on_implicit_join

    def _start(self) -> GeneratorType[Any, Any, None]:
        """Return the generator of the block, which is made when `with` asks for the first method."""
        if self._running is None:
            self._block = Block(self._store.this_thread(), self._on_implicit_join)
            self._running = cast("GeneratorType[Any, Any, None]", _run(self._store, self._block, [self]))
            self._block.running = ref(self._running)
        return self._running

    def _enter(self) -> Callable[[], Self]:
        running = self._start()
        if running.gi_frame is None or running.gi_suspended:
            raise InputError("a transaction is entered only once: begin another one")
        return running.__next__

    def _exit(self) -> Callable[..., None]:
        running = self._start()
        if running.gi_frame is None:
            return _do_nothing
        # `max` is C code that takes three arguments and sends each to the generator. Before the first instruction of a
        # Python function a signal handler could raise, and the transaction would stay open.
        return partial(max, None, key=running.send)

    if TYPE_CHECKING:

        def __enter__(self) -> Self: ...
        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None: ...

    else:
        __enter__ = _Method(_enter)
        __exit__ = _Method(_exit)


def _run(  # noqa: PLR0912, PLR0915 only C code may undo, and a helper would be Python code
    store: Store, block: Block, entered: list[Atomic]
) -> Generator[Any, Any, None]:
    """Run a block from its begin to its end; if this generator ends, C code rolls back and frees the locks."""
    failure: BaseException | None = None
    cause: BaseException | None = None
    is_abandoned = False
    try:
        with block.gate, block.open:
            turn = store.take_turn() if store.was_long and store.open_block() is None else None
            connection = store.begin_block(block)
            try:
                while block.began == math.inf:
                    try:
                        with connection:
                            block.began = time.monotonic()
                            if turn is not None:
                                turn.leave()
                            try:
                                yield entered.pop()
                                kind = yield 1
                                if kind is not None:
                                    raise _UndoneError
                                store.check_block()
                            except BaseException as error:
                                failure = error
                                raise
                    except SqliteError as error:
                        cause = store.cause(error, failure)
                        if block.began < math.inf or not isinstance(cause, BusyError):
                            raise
                        turn = store.wait_for_turn(turn, cause)
                        cause = None  # it refers to this frame
            finally:
                store.end_block(block)
    except BaseException as error:
        block.roll_back()
        cause = store.cause(error, failure) if isinstance(error, SqliteError) else error
        is_abandoned = isinstance(cause, AbandonedError)
        if not is_abandoned and not isinstance(cause, _UndoneError):
            raise cause from cause.__cause__
    finally:
        failure = cause = None  # they refer to this frame
    if is_abandoned:
        yield 0
        if (yield 0) is None:  # no exception leaves the block, which another thread has resumed
            raise DatabaseError(
                f"the transaction on {store.path} was rolled back, because its thread or task ended before it"
            )
    elif block.outer is not None:
        block.outer.actions += block.actions
    else:
        run_actions(block.actions)
        if store.deferred:
            store.run_deferred()
    # `max` returns the None that it has sent first, since these numbers are less than its 1.
    while True:
        yield 0


BEGINS.add(_run.__code__)


class _UndoneError(Exception):
    """An exception leaves the block."""


def _do_nothing(*details: object) -> None:
    """Do nothing: the block has ended already."""
