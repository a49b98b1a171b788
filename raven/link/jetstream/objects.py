"""Objects of JetStream that the link needs: two streams for a realm, and one consumer for a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_SECOND = 1_000_000_000
# A frame that ages out is sent again: only what no host takes any more is lost so, and must not fill the stream.
_MAX_AGE_S = 48 * 3600
_ACK_WAIT_S = 10
_MAX_ACK_PENDING = 4096
_CARD_BYTES = 128 << 20


class Names(NamedTuple):
    """The names and subjects of a realm, as one host uses them; both are single tokens.

    `js_domain` is the domain of the JetStream that holds the objects, if it is not that of the server itself.
    """

    realm: str
    host: str
    js_domain: str | None = None

    @property
    def stream(self) -> str:
        """The stream with the mail of all hosts."""
        return f"RAVEN_{self.realm}"

    @property
    def card_stream(self) -> str:
        """The stream with the last card of each host."""
        return f"RAVEN_{self.realm}_hosts"

    @property
    def api(self) -> str:
        """The prefix of the subjects of JetStream's own requests."""
        return f"$JS.{self.js_domain}.API" if self.js_domain else "$JS.API"

    def mail(self, to: str, sender: str) -> str:
        """Return the subject of mail for a host; `*` stands for any host."""
        return f"raven.mail.{self.realm}.{to}.{sender}"

    def sign(self, to: str, sender: str) -> str:
        """Return the subject of signs for a host; they are not stored."""
        return f"raven.sign.{self.realm}.{to}.{sender}"

    def card(self, key: str) -> str:
        """Return the subject of a card, which is stored and heard by it; `>` stands for any key."""
        # Not that of a bucket of keys and values, $KV: nothing of it is heard beyond a leaf node.
        return f"raven.card.{self.realm}.{key}"


def stream_config(names: Names, replicas: int, max_bytes: int) -> dict[str, Any]:
    """Return the settings of the stream with the mail."""
    return {
        "name": names.stream,
        "subjects": [names.mail("*", "*")],
        "retention": "workqueue",
        "storage": "file",
        "discard": "new",
        "max_bytes": max_bytes,
        "max_age": _MAX_AGE_S * _SECOND,
        "max_msgs": -1,
        "max_consumers": -1,
        "num_replicas": replicas,
        "duplicate_window": _SECOND,  # raven sends no Nats-Msg-Id; 0 would mean 2 minutes
    }


def card_config(names: Names, replicas: int) -> dict[str, Any]:
    """Return the settings of the stream with the cards, which keeps the last of each subject."""
    return {
        "name": names.card_stream,
        "subjects": [names.card(">")],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_bytes": _CARD_BYTES,
        "max_age": 0,  # a host that sleeps stays known
        "max_msgs": -1,
        "max_consumers": -1,
        "num_replicas": replicas,
        "duplicate_window": _SECOND,
        "allow_rollup_hdrs": False,  # by which one host could delete the cards of all
    }


def consumer_config(names: Names) -> dict[str, Any]:
    """Return the settings of the consumer with the mail for the host."""
    return {
        "durable_name": names.host,
        "filter_subject": names.mail(names.host, "*"),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": _ACK_WAIT_S * _SECOND,
        "max_deliver": -1,
        "max_ack_pending": _MAX_ACK_PENDING,
        "replay_policy": "instant",
    }


# The least that a server and its streams must take as one message, in bytes: a part of an envelope, a page of a card.
LEAST_MESSAGE = 4 << 10
# Of each object: the settings without which the link would lose its sense; others are the administrator's.
_STREAM_MUSTS = ("subjects", "retention", "discard")
_CARD_MUSTS = ("subjects", "retention", "max_msgs_per_subject")
_CONSUMER_MUSTS = ("filter_subject", "deliver_policy", "ack_policy")
_MUST_NOTS = ("no_ack", "sealed", "mirror", "sources", "deliver_subject", "headers_only", "subject_transform")
_PULL_LIMITS = ("max_batch", "max_expires", "max_bytes")


def stream_faults(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the settings of an existing stream with which the link cannot work, each with the value it should have."""
    return _faults(found, wanted, _STREAM_MUSTS) + _size_faults(found)


def card_faults(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the settings of an existing stream of cards with which the link cannot work, as `stream_faults` does."""
    return _faults(found, wanted, _CARD_MUSTS) + _size_faults(found)


def consumer_faults(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the settings of an existing consumer with which the link cannot work, as `stream_faults` does."""
    faults = _faults(found, wanted, _CONSUMER_MUSTS)
    if found.get("max_deliver", -1) > 0:
        faults.append(f"max_deliver is {found['max_deliver']}, not -1")
    return faults + [f"{key} is {found[key]}, not unlimited" for key in _PULL_LIMITS if found.get(key, 0) > 0]


def _faults(found: Mapping[str, Any], wanted: Mapping[str, Any], musts: tuple[str, ...]) -> list[str]:
    faults = [
        f"{key} is {_shown(found.get(key))}, not {_shown(wanted[key])}"
        for key in musts
        if found.get(key) != wanted[key]
    ]
    return faults + [f"{key} is set" for key in _MUST_NOTS if found.get(key)]


def _size_faults(found: Mapping[str, Any]) -> list[str]:
    size = found.get("max_msg_size", -1)
    return [f"max_msg_size is {size}, not {LEAST_MESSAGE} or more"] if 0 < size < LEAST_MESSAGE else []


def _shown(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)
