"""SchemaRegistry: permissive by default; an error names the invalid fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, ConfigDict, Field

from raven import BodyError, BusClient, InputError, SchemaRegistry, SchemaValidationError

Connect = Callable[..., BusClient]


class Step(BaseModel):
    number: int
    note: str = ""


class PlanBody(BaseModel):
    title: str
    steps: list[Step] = []
    due: datetime | None = None


@pytest.fixture(autouse=True)
def clean_registry() -> Iterator[None]:
    """Leave the registry of the process empty and permissive."""
    yield
    for type in ("plan", "note"):
        SchemaRegistry.unregister(type)
    SchemaRegistry.strict_mode(False)


def test_a_type_without_a_model_takes_any_body() -> None:
    assert SchemaRegistry.validate("plan", {"anything": [1]}) == {"anything": [1]}


def test_a_body_that_fits_goes_through_as_it_is() -> None:
    SchemaRegistry.register("plan", PlanBody)

    assert SchemaRegistry.validate("plan", {"title": "x", "extra": 1}) == {"title": "x", "extra": 1}


def test_a_body_that_does_not_fit_is_refused_with_each_field_by_its_path() -> None:
    SchemaRegistry.register("plan", PlanBody)

    with pytest.raises(SchemaValidationError) as caught:
        SchemaRegistry.validate("plan", {"steps": [{"number": 1}, {"number": "two"}]})

    assert caught.value.fields.keys() == {"title", "steps.1.number"}
    assert "'plan'" in str(caught.value)
    assert "PlanBody" in str(caught.value)
    assert "title: Field required" in str(caught.value)
    assert "steps.1.number: Input should be a valid integer" in str(caught.value)


def test_a_body_that_is_no_object_at_all_is_refused() -> None:
    SchemaRegistry.register("plan", PlanBody)

    with pytest.raises(SchemaValidationError) as caught:
        SchemaRegistry.validate("plan", "just text")

    assert caught.value.fields.keys() == {"body"}


def test_other_types_are_not_checked_by_a_types_model() -> None:
    SchemaRegistry.register("plan", PlanBody)

    assert SchemaRegistry.validate("note", 5) == 5


def test_an_unregistered_model_checks_no_more() -> None:
    SchemaRegistry.register("plan", PlanBody)
    SchemaRegistry.unregister("plan")

    assert SchemaRegistry.validate("plan", 5) == 5


def test_a_second_model_replaces_the_first() -> None:
    SchemaRegistry.register("plan", PlanBody)
    SchemaRegistry.register("plan", Step)

    assert SchemaRegistry.validate("plan", {"number": 1}) == {"number": 1}


@pytest.mark.parametrize("model", [dict, None, "PlanBody", int])
def test_only_a_pydantic_model_can_be_registered(model: object) -> None:
    with pytest.raises(InputError, match="is not a pydantic model"):
        SchemaRegistry.register("plan", model)  # type: ignore[arg-type]


def test_strict_mode_refuses_types_without_a_model_and_lists_the_known_ones_until_it_is_left() -> None:
    SchemaRegistry.register("plan", PlanBody)
    SchemaRegistry.strict_mode(True)

    with pytest.raises(SchemaValidationError, match=r"'note' has no schema.*known types: plan"):
        SchemaRegistry.validate("note", {})
    assert SchemaRegistry.validate("plan", {"title": "x"}) == {"title": "x"}
    SchemaRegistry.strict_mode(False)
    assert SchemaRegistry.validate("note", {}) == {}


@pytest.mark.parametrize("registered", [True, False])
def test_an_instance_of_a_model_is_sent_as_its_json(registered: bool) -> None:
    if registered:
        SchemaRegistry.register("plan", PlanBody)
    body = PlanBody(title="x", steps=[Step(number=1)], due=datetime(2026, 1, 2, tzinfo=UTC))

    assert SchemaRegistry.validate("plan", body) == {
        "title": "x",
        "steps": [{"number": 1, "note": ""}],
        "due": "2026-01-02T00:00:00Z",
    }


def test_an_instance_of_another_model_is_checked_too() -> None:
    SchemaRegistry.register("plan", PlanBody)

    with pytest.raises(SchemaValidationError, match="title: Field required"):
        SchemaRegistry.validate("plan", Step(number=1))


def test_a_send_that_does_not_fit_stores_nothing(connect: Connect) -> None:
    bus = connect("worker:s")
    SchemaRegistry.register("plan", PlanBody)

    with pytest.raises(SchemaValidationError, match="title") as caught:
        bus.send_many([{"to": "worker:s", "type": "note"}, {"to": "worker:s", "type": "plan", "body": {}}])

    assert caught.value.fields == {"title": "Field required"}
    assert str(caught.value).startswith("message 1 of send_many: ")
    assert bus.last_id() == 0


@pytest.mark.both_ways
def test_a_model_instance_arrives_as_plain_json(connect: Connect) -> None:
    bus = connect("worker:s")

    bus.send("worker:s", "plan", PlanBody(title="x"))

    assert [msg.body for msg in bus.inbox()] == [{"title": "x", "steps": [], "due": None}]


def test_an_instance_of_the_registered_model_is_valid_as_it_is(connect: Connect) -> None:
    class Plan(BaseModel):
        model_config = ConfigDict(strict=True)
        step: int = Field(alias="Step")
        due: datetime

    SchemaRegistry.register("plan", Plan)

    message = connect("boss:s").send("worker:s", "plan", Plan(Step=1, due=datetime(2026, 1, 2)))

    assert message.body == {"Step": 1, "due": "2026-01-02T00:00:00"}


@pytest.mark.both_ways
def test_a_model_that_cannot_be_made_json_is_a_body_error(connect: Connect) -> None:
    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        thing: object

    with pytest.raises(BodyError, match="cannot be converted to JSON"):
        connect("boss:s").send("worker:s", "note", Odd(thing=object()))
