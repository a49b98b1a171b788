"""Fixtures: two hosts, and a carrier between them."""

from tests.exchange.carrier import alpha, beta, carrier  # noqa: F401 fixtures
