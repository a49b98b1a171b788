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
