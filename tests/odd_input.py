"""Odd input for servers, and the texts that no answer to it may hold: strategies of hypothesis."""

from __future__ import annotations

import builtins

from hypothesis import strategies as st

import raven.errors

# An error quotes at most a short part of a client's text, and none of the texts below is made of these letters.
CLASSES = [
    name for module in (builtins, raven.errors) for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, BaseException)
]  # fmt: skip
SECRETS = [
    "Traceback",
    "/rpc/",
    ".py",
    "site-packages",
    "raven_rpc",
    "raven_http",
    "raven_mcp",
    "pydantic",
    "jsonrpcserver",
    *CLASSES,
]

TEXTS = st.one_of(
    st.sampled_from(["a:s", "b:s", "*:s", "*:*", "a", ":", "", " ", "\x00", "\ud800", "\udfff:s", "../..:/", "é:😀",
                     "a:" + "x" * 600, "note", "auto", "manual", "prompt", "rpc.", "self", "2.0"]),
    st.text(st.characters(exclude_categories=[]), max_size=20),
)  # fmt: skip
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2**31, 2**53, 2**63, -(2**63) - 1, 10**100, 1e308, -0.0, 0.5]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=10,
)
BYTES = st.lists(
    st.one_of(st.binary(max_size=200), st.sampled_from([b"\n", b"{", b"}", b"[", b"]", b'"', b"\xff", b"\x00", b"\\"])),
    max_size=20,
).map(b"".join)
