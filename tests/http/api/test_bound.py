"""A bridge that is bound to addresses acts as these only, and shows only their mail, on every route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from raven import BusClient
from raven_http.api.table import ROUTES, Route
from raven_rpc.methods.table import METHODS
from tests.http_bridge import BridgeHere
from tests.rpc.methods.test_bound_escape import BOUND, ME, NEVER, RULES, bus

__all__ = ["bus"]
Serve = Callable[..., BridgeHere]
ADDRESSES = [tuple(options[1::2]) for options in BOUND]
NAMES = {method.params: name for name, method in METHODS.items()}


def rule_of(route: Route) -> Any:
    return RULES[next(name for name, method in METHODS.items() if method.params is route.method.params)]


def ask(served: BridgeHere, route: Route, params: Any) -> httpx.Response:
    """Call a route with the parameters of its method."""
    given = {name: value for name, value in params.items() if name in (*route.names, "id")}
    path = route.path.replace("{id}", str(given.pop("id"))) if route.takes_id else route.path
    return served.post(path, json=given) if route.is_write else served.get(path, params=given)


@pytest.mark.parametrize("bound", ADDRESSES, ids=["one", "two"])
def test_no_route_lets_a_client_act_as_another(bridge: Serve, bus: BusClient, bound: tuple[str, ...]) -> None:
    served = bridge(bound=bound)

    for route in ROUTES:
        rule = rule_of(route)
        for params in filter(lambda params: isinstance(params, dict), rule.refused):
            answer = ask(served, route, params)
            assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), (route.path, params)
        for params in filter(lambda params: isinstance(params, dict), rule.allowed):
            answer = ask(served, route, params)
            assert answer.status_code in (200, 409), (route.path, params, answer.text)
            assert "a secret" not in answer.text


def test_a_hidden_message_is_as_if_it_had_never_been(bridge: Serve, bus: BusClient) -> None:
    served = bridge(bound=[ME])

    for route in ROUTES:
        rule = rule_of(route)
        if not rule.hides:
            continue
        hidden, never = (ask(served, route, {**rule.needs, "id": number}) for number in (3, NEVER))
        assert (hidden.status_code, hidden.text) == (404, never.text.replace(str(NEVER), "3")), route.path
