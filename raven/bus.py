"""Bus: the methods that the client of the file and the client of the socket share.

`BusClient` and `raven_rpc.Client` both have these methods, with the same parameters: a program written for `Bus`
works with either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, Unpack

from raven.model.limits import GRACE_S

if TYPE_CHECKING:
    from raven.model.message import Message, State
    from raven.model.new_message import SendOptions
    from raven.model.status import Forgotten, Peer, Pruned, Receipt, Stats


class BusView(Protocol):
    """Reads of the whole bus, by a client with or without an address; `BusObserver` has these methods, too."""

    @property
    def db_path(self) -> str:
        """The path of the bus file, or of the server's socket."""

    def read(self, id: int) -> Message:
        """Return one message, with the delivery to this address if it has one; raises MessageNotFoundError."""

    def recipients(self, id: int) -> list[str]:
        """Return the recipients of a message; raises MessageNotFoundError."""

    def history(
        self,
        correlation_id: str | int | None = None,
        *,
        task_id: str | int | None = None,
        role: str | Sequence[str] | None = None,
        max: int = 1000,
    ) -> list[Message]:
        """Return the messages with a correlation id or a task id, by id; `role` filters by sender or recipient."""

    def thread(self, id: int, *, role: str | Sequence[str] | None = None, max: int = 1000) -> list[Message]:
        """Return all messages that `reply_to` connects with a message, by id; raises MessageNotFoundError."""

    def receipts(self, id: int) -> list[Receipt]:
        """Return the receipt of each delivery of a message; raises MessageNotFoundError."""

    def wait_receipt(self, id: int, state: State = "acked", timeout_s: float | None = None) -> list[Receipt]:
        """Wait until every delivery has reached `state`; raises WaitTimeoutError or UndeliveredError."""

    async def wait_receipt_async(
        self, id: int, state: State = "acked", timeout_s: float | None = None
    ) -> list[Receipt]:
        """Do as `wait_receipt` does, without blocking the event loop."""

    def dead(self, role: str | None = None, *, max: int = 100) -> list[Message]:
        """Return the dead letters, of one recipient if `role` is given."""

    def requeue(self, *ids: int, role: str | None = None, all: bool = False) -> int:
        """Make dead letters ready again, with a fresh attempt count; returns their number."""

    def purge_dead(self, role: str | None = None) -> int:
        """Drop all dead letters, or only the ones of `role`; returns their number."""

    def peers(self, session: str | None = None) -> list[Peer]:
        """List the addresses that are registered or have mail."""

    def stats(self, *, full: bool = True) -> Stats:
        """Return the counts, rates and latencies of the bus; without `full`, finished deliveries are not counted."""

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
        """Yield messages from an id on, consuming none; with `follow` also new messages, for `timeout_s` seconds."""

    def prune(
        self,
        older_than_s: float,
        *,
        dry_run: bool = False,
        progress: Callable[[Pruned], None] | None = None,
        grace_s: float = GRACE_S,
        unfinished: bool = False,
    ) -> Pruned:
        """Drop finished messages older than `older_than_s` seconds; with `dry_run` only count them.

        What was finished less than `grace_s` seconds ago stays, and so do requests without an answer. With `unfinished`
        messages of that age expire first.
        """

    def forget(self, *targets: str) -> Forgotten:
        """Unregister addresses, or all that match a pattern, and let the mail that waits for them expire."""

    def close(self) -> None:
        """Close the connection: later calls raise ClosedError, loops in other threads end."""

    def __enter__(self) -> Self:
        """Return this object."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Call `close`."""


class Bus(BusView, Protocol):
    """One address on a bus: sends and receives messages, requests and replies.

    Each write is a transaction of its own; inside `transaction` all writes are one.
    """

    @property
    def address(self) -> str | None:
        """This client's own address, `<role>:<session>`; None for a client of the socket without an address."""

    def send(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send one message. When this returns, the message is committed and waiting recipients are woken."""

    def send_many(self, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Send many messages in one transaction: all of them or none. Each is a dict of the parameters of `send`."""

    def reply(self, msg: Message | int, type: str, body: Any = None, **options: Any) -> Message:
        """Reply to a message, given as the message or its id; `options` are the options of `send`."""

    def request(
        self,
        to: str | Sequence[str],
        type: str,
        body: Any = None,
        *,
        timeout_s: float = 30.0,
        **options: Unpack[SendOptions],
    ) -> Message:
        """Send a message, wait for the reply and return the reply, acked; raises WaitTimeoutError."""

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
        """Return the unacked messages, by urgency, then id; with `peek` no message is marked as delivered."""

    def claim(self, max: int = 1, lease_s: float = 30.0, *, remember: bool = True) -> list[Message]:
        """Claim up to `max` ready messages under a lease of `lease_s` seconds: at least once each."""

    def ack(self, id: int, *, lease: int | None = None) -> None:
        """Finish this address's delivery of a message; idempotent. Raises LeaseLostError if another consumer has it."""

    def nack(self, id: int, delay_s: float = 0, reason: str | None = None, *, lease: int | None = None) -> State:
        """Release a message, ready again at once or after `delay_s` seconds; returns its state."""

    def extend(self, id: int, lease_s: float = 30.0, *, lease: int | None = None) -> None:
        """Let the lease of a message end `lease_s` seconds from now; raises LeaseLostError if it has ended."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Commit all calls inside the block in one transaction, or commit nothing."""

    def register(self, *addresses: str) -> None:
        """Register addresses, so that broadcasts reach them before they use the bus."""

    def subscribe(
        self,
        *,
        ack: Literal["auto", "manual"] = "auto",
        lease_s: float = 30.0,
        poll_interval_s: float = 1.0,
        max_per_poll: int = 50,
        timeout_s: float | None = None,
    ) -> AsyncMessageIterator:
        """Yield each message as it arrives, to `async for`: at most once, or at least once with manual acks."""

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
    """The async iterator that `subscribe` returns; after `break` it releases unyielded messages at once."""

    def __aiter__(self) -> Self:
        """Return this object."""

    async def __anext__(self) -> Message:
        """Return the next message; raises StopAsyncIteration at the end of the loop."""

    async def aclose(self) -> None:
        """Stop, and release the messages that were fetched and not yielded."""

    def close(self) -> None:
        """Do as `aclose` does, synchronously."""


class Transaction(Protocol):
    """The object that `with bus.transaction() as tx` yields: the calls that can be part of one commit.

    With a client of the file, each call runs at once and returns its value. With a client of the socket, each call is
    checked at once, returns None, and runs when the block ends. After the block, `results` has the value of each call.
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
