"""Schemas: one pydantic model per message type of the desk; other types are refused."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from raven import Message, SchemaRegistry

Slug = Annotated[str, Field(pattern=r"^[a-z]+(-[a-z]+)*$")]
Percent = Annotated[float, Field(ge=0)]


class Body(BaseModel):
    """A body that refuses unknown fields and numbers given as text, and prints as one line."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OnDuty(Body):
    pid: int = Field(gt=0)

    def __str__(self) -> str:
        return f"process {self.pid}"


class Assignment(Body):
    wire: str
    least_change_pct: Percent

    def __str__(self) -> str:
        return f"read {self.wire}; news is what changed by {self.least_change_pct:g} percent or more"


class Lead(Body):
    """One item of the wire: two figures, the change that the agency states, and further facts."""

    slug: Slug
    topic: str
    before: int = Field(gt=0)
    after: int = Field(gt=0)
    stated_pct: Percent
    background: list[str]

    def __str__(self) -> str:
        return f"{self.topic}: {self.before:,} -> {self.after:,}"


class WireRead(Body):
    items: int
    leads: int

    def __str__(self) -> str:
        return f"{self.items} items, {self.leads} of them leads"


class Draft(Body):
    revision: int = Field(gt=0)
    headline: str
    text: str

    def __str__(self) -> str:
        return f"revision {self.revision}: {self.headline}"


class Edit(Body):
    """The editor's verdict: the headline in its final form, and how many words are too many."""

    headline: str
    words: int
    words_over: int = Field(ge=0)

    @property
    def approved(self) -> bool:
        return self.words_over == 0

    def __str__(self) -> str:
        return f"{self.words} words: " + ("good" if self.approved else f"{self.words_over} too many")


class FactCheck(Body):
    """The verdict of the fact-checker: the change that the draft states, and the change that its figures give."""

    stated_pct: Percent
    true_pct: Percent

    @property
    def approved(self) -> bool:
        return self.stated_pct == self.true_pct

    def __str__(self) -> str:
        return f"{self.stated_pct:.1f} percent: " + ("right" if self.approved else f"WRONG, is {self.true_pct:.1f}")


class Returned(Body):
    """The changes that a draft needs."""

    stated_pct: Percent
    true_pct: Percent
    words_over: int

    def __str__(self) -> str:
        wrong = [f"{self.stated_pct:.1f} must be {self.true_pct:.1f}"] if self.stated_pct != self.true_pct else []
        return "; ".join(wrong + ([f"cut {self.words_over} words"] if self.words_over else []))


class Story(Body):
    headline: str
    text: str
    revision: int

    def __str__(self) -> str:
        return self.headline


class Edition(Body):
    headlines: list[str]

    def __str__(self) -> str:
        return f"{len(self.headlines)} stories; good night"


MODELS: dict[str, type[Body]] = {
    "on-duty": OnDuty,
    "assignment": Assignment,
    "lead": Lead,
    "wire-read": WireRead,
    "draft": Draft,
    "edit": Edit,
    "fact-check": FactCheck,
    "returned": Returned,
    "story": Story,
    "edition": Edition,
}


def enforce() -> None:
    """Register the models, and refuse all other types in this process."""
    for type_, model in MODELS.items():
        SchemaRegistry.register(type_, model)
    SchemaRegistry.strict_mode(True)


def body_of(msg: Message) -> Body:
    """Return the body of a message as the model of its type; validates it, because other programs may write too."""
    return MODELS[msg.type].model_validate(msg.body)
