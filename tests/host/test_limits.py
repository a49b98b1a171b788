"""The limits of a server: their defaults, and the errors for wrong settings."""

from __future__ import annotations

from typing import Any

import pytest

from raven import ConfigError
from raven.host.limits import BOUND, UNBOUND, LongRequests, ServerLimits


def test_settings_replace_the_defaults_one_by_one() -> None:
    assert ServerLimits.of({}, bound=True) == BOUND
    assert ServerLimits.of({}, bound=False) == UNBOUND
    assert ServerLimits.of({"deliveries": 7}, bound=True) == BOUND._replace(deliveries=7)
    assert ServerLimits.of({"deliveries": 0}, bound=True).deliveries == 0


def test_a_bound_socket_has_every_limit() -> None:
    assert all(BOUND)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"delivries": 1}, "'delivries' is not known"),
        ({"deliveries": -1}, "deliveries is -1"),
        ({"deliveries": True}, "deliveries is True"),
        ({"deliveries": "many"}, "deliveries is 'many'"),
        ([], "must be a mapping"),
    ],
)
def test_an_error_names_the_wrong_setting(settings: Any, shown: str) -> None:
    with pytest.raises(ConfigError, match=shown):
        ServerLimits.of(settings, bound=True)


class Request:
    """A long request that counts its turns."""

    turns = 0

    def process_input(self) -> None:
        self.turns += 1

    def end_unfinished(self) -> None:
        raise AssertionError("it is in time")


def test_long_requests_of_all_ways_into_a_bus_share_one_room_in_their_order() -> None:
    room, (first, large, small, huge) = LongRequests(UNBOUND._replace(memory=8 * 100)), [Request() for _ in range(4)]

    assert [room.acquire(first, 60), room.acquire(large, 60), room.acquire(small, 10)] == [True, False, False]
    room.tick()
    room.release(first)
    assert [one.turns for one in (first, large, small)] == [0, 1, 1]
    assert (room.acquire(large, 60), room.acquire(huge, 1000)) == (True, False)
    room.release(small)
    assert huge.turns == 0
    room.release(large)
    assert huge.turns == 1
