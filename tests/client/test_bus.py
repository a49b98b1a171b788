"""`raven.Bus`: a client of the file and a client of the socket have the same methods, to the last default."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import raven_rpc
from raven import Bus, BusClient, BusObserver, bus
from raven.receive import auto_ack
from raven.transaction import BusTransaction
from raven_rpc.client import stream, transaction

# Their return types differ; another test compares the methods of those types.
OWN_TYPES = {"transaction", "address"}
FILE_ONLY = {"at", "execute"}


def methods(kind: type) -> set[str]:
    """Return the public methods of a class, and the methods for `with` and for loops."""
    special = {"__enter__", "__exit__", "__aiter__", "__anext__"}
    return {name for name in dir(kind) if not name.startswith("_") or name in special}


def signature(kind: type, name: str) -> tuple[Any, ...]:
    """Return the kind of a method or property, its parameters with kinds, defaults and types, and its return type.

    Types are texts: they are imported for the type checker only.
    """
    member = inspect.getattr_static(kind, name)
    if isinstance(member, property):
        return "property", (), inspect.signature(member.fget or member).return_annotation
    declared = inspect.signature(member)
    parameters = [(one.name, one.kind.description, one.default, one.annotation) for one in declared.parameters.values()]
    how = "awaited" if inspect.iscoroutinefunction(member) else "called"
    return how, parameters, None if name in OWN_TYPES else declared.return_annotation


@pytest.mark.parametrize("client", [BusClient, raven_rpc.Client], ids=["of the file", "of the socket"])
@pytest.mark.parametrize("name", sorted(methods(Bus)))
def test_a_client_has_every_method_of_a_bus_with_the_same_signature(client: type, name: str) -> None:
    assert hasattr(client, name)
    if name == "address":
        assert isinstance(inspect.getattr_static(client, name), property)
    else:
        assert signature(client, name) == signature(Bus, name)


@pytest.mark.parametrize("name", sorted(methods(bus.BusView) - {"__enter__", "__exit__"}))
def test_an_observer_has_every_method_that_reads(name: str) -> None:
    assert signature(BusObserver, name) == signature(bus.BusView, name)


@pytest.mark.parametrize("loop", [auto_ack.AsyncMessageIterator, stream.AsyncMessageIterator], ids=["file", "socket"])
def test_an_async_loop_is_left_in_the_same_ways(loop: type) -> None:
    assert methods(loop) == methods(bus.AsyncMessageIterator)
    for name in methods(loop):
        assert signature(loop, name) == signature(bus.AsyncMessageIterator, name)


@pytest.mark.parametrize("name", sorted(methods(bus.Transaction)))
def test_a_transaction_takes_the_same_calls(name: str) -> None:
    here, there, declared = (
        signature(kind, name) for kind in (BusTransaction, transaction.Transaction, bus.Transaction)
    )

    assert here[:2] == there[:2] == declared[:2]
    # A call returns its value with the file, and None over the socket.
    assert (there[2], declared[2].removesuffix(" | None")) == ("None", here[2])


def test_both_transactions_have_results_that_begin_empty(connect: Callable[..., BusClient]) -> None:
    for client in (connect("worker:s"), raven_rpc.Client("none.sock", "worker:s")):
        with client.transaction() as tx:
            pass
        assert tx.results == []
    assert set(bus.Transaction.__annotations__) == {"results"}


def test_the_clients_have_no_other_methods_in_common() -> None:
    both = methods(BusClient) & methods(raven_rpc.Client)

    assert both == methods(Bus)
    assert methods(raven_rpc.Client) - both == {"call"}
    assert methods(BusClient) - both == FILE_ONLY
