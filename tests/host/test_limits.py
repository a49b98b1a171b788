"""The limits of a server: their defaults, and the errors for wrong settings."""

from __future__ import annotations

from typing import Any

import pytest

from raven import ConfigError
from raven.host.limits import BOUND, UNBOUND, ServerLimits


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
