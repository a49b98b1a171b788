"""Fixtures: the HTTP bridge of the test's bus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.http_bridge import BridgeHere
from tests.support import closed_at_the_end


@pytest.fixture
def bridge(db: str) -> Iterator[Callable[..., BridgeHere]]:
    """Serve the bus over HTTP on a free port, with options of `create_app`; gone at the end."""
    with closed_at_the_end(lambda **options: BridgeHere(db, **options)) as serve:
        yield serve


@pytest.fixture(scope="module")
def shared_bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeHere]:
    """Serve one bus for all tests of a module: the messages of one must not harm the next."""
    one = BridgeHere(str(tmp_path_factory.mktemp("bus") / "bus.db"))
    yield one
    one.close()
