"""Bus: the methods that a bus offers, whether its file is here or behind a server's socket.

`BusClient` and `raven_rpc.Client` both have them, with the same parameters: a program that is written against `Bus`
takes either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, Unpack

if TYPE_CHECKING:
    from raven.model.message import Message, State
    from raven.model.new_message import SendOptions
    from raven.model.status import Peer, Pruned, Receipt, Stats


class BusView(Protocol):
    """Looks at the whole bus, by a client with or without an address; a `BusObserver` has these methods, too."""

    @property
    def db_path(self) -> str:
        """Where the bus is: the path of its file, or that of the server's socket."""

    def read(self, id: int) -> Message:
        """Return one message, as this address sees it if it is a recipient; raises MessageNotFoundError."""

    def recipients(self, id: int) -> list[str]:
        """Return the addresses that a message was delivered to; raises MessageNotFoundError."""

    def history(
        self,
        correlation_id: str | int | None = None,
        *,
        task_id: str | int | None = None,
        role: str | Sequence[str] | None = None,
        max: int = 1000,
    ) -> list[Message]:
        """Return the messages of one conversation or task in order; `role` narrows it to some addresses."""

    def thread(self, id: int, *, role: str | Sequence[str] | None = None, max: int = 1000) -> list[Message]:
        """Return the messages that `reply_to` links with a message, in order; raises MessageNotFoundError."""

    def receipts(self, id: int) -> list[Receipt]:
        """Return how far each delivery of a message has come; raises MessageNotFoundError."""

    def wait_receipt(self, id: int, state: State = "acked", timeout_s: float | None = None) -> list[Receipt]:
        """Wait until every delivery has come as far as `state`; raises WaitTimeoutError or UndeliveredError."""

    async def wait_receipt_async(
        self, id: int, state: State = "acked", timeout_s: float | None = None
    ) -> list[Receipt]:
        """Do as `wait_receipt` does, without blocking the event loop."""

    def dead(self, role: str | None = None, *, max: int = 100) -> list[Message]:
        """Return the deliveries that have died, of one recipient if `role` is given."""

    def requeue(self, *ids: int, role: str | None = None, all: bool = False) -> int:
        """Revive dead deliveries, with all attempts before them; returns how many."""

    def purge_dead(self, role: str | None = None) -> int:
        """Drop dead deliveries, all or those to one address; returns how many."""

    def peers(self, session: str | None = None) -> list[Peer]:
        """List the addresses that are registered or have mail."""

    def stats(self, *, full: bool = True) -> Stats:
        """Return the counts, rates and latencies of the bus; without `full` only those of unfinished deliveries."""

    def last_id(self) -> int:
        """Return the id of the newest message, 0 on an empty bus."""

    def tail(
        self,
        from_id: int = 1,
        *,
        role: str | Sequence[str] | None = None,
        follow: bool = True,
        poll_interval_s: float = 1.0,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Yield messages from an id on, consuming none; with `follow` also new ones, for `timeout_s` seconds."""

    def prune(
        self, older_than_s: float, *, dry_run: bool = False, progress: Callable[[Pruned], None] | None = None
    ) -> Pruned:
        """Drop finished messages older than a span of time; with `dry_run` only count them."""

    def close(self) -> None:
        """Close the connection: later calls raise ClosedError, loops in other threads end. Twice is allowed."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""


class Bus(BusView, Protocol):
    """One address on a bus: sends, receives, asks and answers.

    Each write is one transaction, or part of one inside `transaction`.
    """

    @property
    def address(self) -> str | None:
        """This client's own address, `<role>:<session>`; None for a client of a socket that has none."""

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send one message; when this returns it is committed, and the recipients that wait for it are woken."""

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages, dicts of `send`'s parameters, in one transaction: all of them or none."""

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message:
        """Answer a message, given itself or by its id; `options` are those of `send`."""

    def request(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send a message, wait for its answer and return that, acked; raises WaitTimeoutError."""

    async def request_async(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Do as `request` does, without blocking the event loop."""

    def inbox(self, max: int = 100, peek: bool = False) -> list[Message]:
        """Return the messages that are not acked, by urgency, then id; with `peek` none is marked as delivered."""

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message]:
        """Take up to `max` ready messages under a lease of `lease_s` seconds, at least once each."""

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message; idempotent. Raises LeaseLostError if another has it now."""

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Give a message back, ready at once or after `delay_s` seconds; returns its state."""

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Make one commit of the calls inside a block: all of them or none."""

    def register(self, *addresses: str) -> None:
        """Register addresses in advance, so that broadcasts reach them."""

    def subscribe(
        self,
        *,
        ack: Literal["auto", "manual"] = "auto",
        lease_s: float = 30.0,
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> AsyncMessageIterator:
        """Yield messages as they come to `async for`: at most once each, or at least once with manual acks."""

    def listen(
        self,
        *,
        ack: Literal["auto", "manual"] = "auto",
        lease_s: float = 30.0,
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> Iterator[Message]:
        """Do as `subscribe` does, for an ordinary `for` loop."""


class AsyncMessageIterator(Protocol):
    """What `subscribe` returns; a loop that is left by `break` gives back at once what it did not hand out."""

    def __aiter__(self) -> Self:
        """Return itself."""

    async def __anext__(self) -> Message:
        """Return the next message; StopAsyncIteration when the loop is over."""

    async def aclose(self) -> None:
        """Stop, and give back the messages that were fetched and not handed out."""

    def close(self) -> None:
        """Do as `aclose` does, at once."""


class Transaction(Protocol):
    """What `with bus.transaction() as tx` yields: the writes that can be part of one commit.

    On a file each call is done when it is made, and returns its value. Over a socket each call is checked when it is
    made, returns None, and is done when the block ends. After it, `results` has what each has returned.
    """

    results: list[Any]

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        **options: Unpack[SendOptions],
    ) -> Message | None:
        """Do as `Bus.send` does."""

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message] | None:
        """Do as `Bus.send_many` does."""

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message | None:
        """Do as `Bus.reply` does."""

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message] | None:
        """Do as `Bus.claim` does."""

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Do as `Bus.ack` does."""

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State | None:
        """Do as `Bus.nack` does."""

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Do as `Bus.extend` does."""
