"""Messages: immutable; derived names agree; the JSON form has the documented keys."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raven.model.limits import MAX_PAGE_BYTES
from raven.model.message import STATES, TO_SEPARATOR, URGENCIES, Message, MessageRow, cut_row, json_size
from raven_rpc.jsonrpc.messages import encode

NOW = 1_800_000_000_000_000


def row(**changes: Any) -> MessageRow:
    plain = MessageRow(
        id=7, sender="conductor:swarm-1", to="architect:swarm-2", type="plan", body='{"step":1}', urgency=1, tags=None,
        correlation_id=None, reply_to=None, task_id=None, dedup_key=None, created_at=NOW, expires_at=None,
        reply_address=None, report=None, recipient="architect:swarm-2", state=0, attempts=0, delivered_at=None,
        finished_at=None, reason=None, leased_until=None,
    )  # fmt: skip
    return plain._replace(**changes)


def message(**changes: Any) -> Message:
    return Message.from_row(row(**changes), NOW)


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        message().state = "acked"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        message().__dict__  # noqa: B018


def test_a_message_from_the_store_is_like_one_made_by_hand() -> None:
    stored = message()
    by_hand = Message(**{field.name: getattr(stored, field.name) for field in dataclasses.fields(Message)})

    assert type(stored) is Message
    assert stored == by_hand
    assert repr(stored) == repr(by_hand)
    assert dataclasses.replace(stored, id=8).id == 8
    assert pickle.loads(pickle.dumps(stored)) == copy.deepcopy(stored) == stored


def test_the_parts_of_the_addresses_have_names() -> None:
    msg = message()

    assert msg.session_id == "swarm-1"
    assert (msg.recipient_role, msg.recipient_session) == ("architect", "swarm-2")


@pytest.mark.parametrize(("place", "state"), [*enumerate(["sent", "delivered", "acked", "expired", "dead"])])
def test_a_stored_state_has_its_word_and_status_is_the_same(place: int, state: str) -> None:
    assert message(state=place).state == state
    assert message(state=place).status == state
    assert STATES[place] == state


def test_urgencies_sort_as_the_inbox_does() -> None:
    assert URGENCIES == ("blocking", "prompt", "fyi")
    assert [message(urgency=place).urgency for place in range(3)] == list(URGENCIES)


@pytest.mark.parametrize(
    ("state", "shown"), [(0, "expired"), (1, "expired"), (2, "acked"), (3, "expired"), (4, "dead")]
)
def test_an_unfinished_message_past_its_expiry_shows_as_expired(state: int, shown: str) -> None:
    assert message(state=state, expires_at=NOW).state == shown
    assert message(state=state, expires_at=NOW - 1).state == shown


def test_a_message_before_its_expiry_is_not_expired() -> None:
    assert message(expires_at=NOW + 1).state == "sent"


def test_only_an_acked_message_has_a_time_of_its_ack() -> None:
    assert message(state=2, finished_at=NOW).acked_at is not None
    assert message(state=3, finished_at=NOW).acked_at is None
    assert message(state=4, finished_at=NOW).acked_at is None


def test_a_list_of_recipients_comes_back_as_a_tuple() -> None:
    msg = message(to=TO_SEPARATOR.join(["a:s", "b:s"]), recipient=None)

    assert msg.to == ("a:s", "b:s")
    assert msg.recipient == "a:s, b:s"
    assert msg.as_dict()["to"] == ["a:s", "b:s"]


def test_the_json_shape_has_every_field_and_every_derived_name() -> None:
    json_form = message(
        tags='["x","y"]', expires_at=NOW + 5_000_000, state=2, finished_at=NOW, delivered_at=NOW
    ).as_dict()
    expected = {
        "id": 7,
        "session_id": "swarm-1",
        "sender": "conductor:swarm-1",
        "recipient": "architect:swarm-2",
        "recipient_role": "architect",
        "recipient_session": "swarm-2",
        "to": "architect:swarm-2",
        "type": "plan",
        "body": {"step": 1},
        "state": "acked",
        "status": "acked",
        "urgency": "prompt",
        "tags": ["x", "y"],
        "correlation_id": None,
        "reply_to": None,
        "task_id": None,
        "dedup_key": None,
        "attempts": 0,
        "created_at": "2027-01-15T08:00:00.000000Z",
        "delivered_at": "2027-01-15T08:00:00.000000Z",
        "acked_at": "2027-01-15T08:00:00.000000Z",
        "expires_at": "2027-01-15T08:00:05.000000Z",
        "finished_at": "2027-01-15T08:00:00.000000Z",
        "reply_address": None,
        "report": None,
        "reason": None,
    }

    assert list(json_form.items()) == list(expected.items())
    assert json.loads(json.dumps(json_form)) == json_form
    fields = {field.name for field in dataclasses.fields(Message)}
    assert fields - json_form.keys() == {"lease", "waiting", "duplicate", "truncated"}


def test_the_json_form_has_lease_waiting_and_duplicate_only_if_set() -> None:
    claimed = Message.from_row(row(), NOW, lease=5)
    sent = Message.from_row(row(), NOW, waiting={"architect:swarm-2": True})

    assert claimed.as_dict()["lease"] == 5
    assert "waiting" not in claimed.as_dict()
    assert {key: sent.as_dict().get(key, "none") for key in ("lease", "waiting", "duplicate")} == {
        "lease": "none", "waiting": {"architect:swarm-2": True}, "duplicate": False,
    }  # fmt: skip
    assert Message.from_dict(claimed.as_dict()) == claimed
    assert Message.from_dict(sent.as_dict()).waiting == sent.waiting


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
JSON = st.recursive(TEXT | st.integers() | st.booleans() | st.none(), lambda inner: st.lists(inner, max_size=4))


@given(body=JSON, text=TEXT, whole=st.booleans(), many=st.booleans())
def test_the_json_form_is_no_longer_than_its_size_in_a_page(body: Any, text: str, whole: bool, many: bool) -> None:
    to = TO_SEPARATOR.join(f"{text}{n}:{text}" for n in range(5 if many else 1))
    stored = row(
        body=json.dumps(body, ensure_ascii=False, separators=(",", ":")), sender=f"{text}:{text}", to=to, type=text,
        tags=json.dumps([text, text]), correlation_id=text, task_id=text, dedup_key=text, reason=text, state=4,
        recipient=None if whole else to.split(TO_SEPARATOR)[-1], reply_address=f"{text}:{text}", reply_to=(1 << 43) - 1,
        created_at=NOW, delivered_at=NOW, finished_at=NOW, expires_at=NOW, attempts=1_000_000, id=(1 << 43) - 1,
    )  # fmt: skip

    shown = Message.from_row(stored, NOW, lease=(1 << 48) - 1)

    assert len(encode(shown.as_dict())) <= json_size(stored)


@pytest.mark.parametrize("changes", [
    {"body": json.dumps("x" * MAX_PAGE_BYTES)},
    {"body": json.dumps("\u20ac" * (MAX_PAGE_BYTES // 3), ensure_ascii=False)},
    {"tags": json.dumps(["x" * MAX_PAGE_BYTES])},
    {"reason": "x" * MAX_PAGE_BYTES},
    {"to": TO_SEPARATOR.join(f"{number}:s" for number in range(1_000_000)), "recipient": "1:s"},
])  # fmt: skip
def test_a_message_that_no_page_can_hold_is_cut_until_one_can(changes: dict[str, Any]) -> None:
    stored = row(**changes)
    assert json_size(stored) > MAX_PAGE_BYTES

    cut = Message.from_row(cut_row(stored), NOW)

    assert (cut.truncated, cut.body, cut.id) == (True, None, stored.id)
    assert len(encode(cut.as_dict())) <= json_size(cut_row(stored)) <= MAX_PAGE_BYTES
    assert Message.from_dict(cut.as_dict()) == cut
