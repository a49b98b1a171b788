"""The five agents of the desk; `agents.py ROLE BUS` runs one agent in a process of its own.

An agent knows the roles that it talks to, and not their processes: it receives a message, processes it, and sends the
result. The correlation_id of each message about a story is the slug of the story.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator

import schemas
from schemas import Assignment, Draft, Edit, Edition, FactCheck, Lead, OnDuty, Returned, Story, WireRead

from raven import BusClient, Message

SESSION = "desk"
SHIFT_S = 60.0
MAX_WORDS = 45
NUMBER = r"\d(?:[\d,.]*\d)?"
SMALL_WORDS = frozenset(["a", "an", "and", "at", "by", "of", "on", "or", "the", "to"])


def address(role: str) -> str:
    return f"{role}:{SESSION}"


def shift(bus: BusClient) -> Iterator[tuple[Message, schemas.Body]]:
    """Yield the messages of an agent until the edition is out, or until the end of its shift."""
    for msg in bus.listen(timeout_s=SHIFT_S):
        body = schemas.body_of(msg)
        if isinstance(body, Edition):
            return
        yield msg, body
    sys.exit(f"{bus.address}: no edition within {SHIFT_S:g} s")


def scout(bus: BusClient) -> None:
    """Pick the news from the wire: each item that changed enough, once."""
    for msg, body in shift(bus):
        assert isinstance(body, Assignment)
        with open(os.path.join(os.path.dirname(__file__), body.wire), encoding="utf-8") as wire:
            items = [Lead.model_validate(item) for item in json.load(wire)]
        leads: dict[str, Lead] = {}
        for item in items:
            if change_pct(item.before, item.after) >= body.least_change_pct:
                leads.setdefault(item.slug, item)
        bus.send_many(
            [
                {"to": address("writer"), "type": "lead", "body": lead, "correlation_id": slug, "reply_to": msg.id}
                for slug, lead in leads.items()
            ]
        )
        bus.send(address("publisher"), "wire-read", WireRead(items=len(items), leads=len(leads)), reply_to=msg.id)


def writer(bus: BusClient) -> None:
    """Write a draft from each lead, and a new revision of each returned draft."""
    for msg, body in shift(bus):
        if isinstance(body, Lead):
            draft = write(body)
        else:
            assert isinstance(body, Returned)
            assert msg.reply_to is not None
            draft = revise(Draft.model_validate(bus.read(msg.reply_to).body), body)
        # The fan-out: one message, two deliveries, processed in any order.
        to = [address("editor"), address("fact-checker")]
        bus.send(to, "draft", draft, correlation_id=msg.correlation_id, reply_to=msg.id)


def editor(bus: BusClient) -> None:
    """Judge the form: put the headline in title case and count the words."""
    for msg, body in shift(bus):
        assert isinstance(body, Draft)
        words = len(body.text.split())
        verdict = Edit(headline=title_case(body.headline), words=words, words_over=max(0, words - MAX_WORDS))
        bus.send(address("publisher"), "edit", verdict, correlation_id=msg.correlation_id, reply_to=msg.id)


def fact_checker(bus: BusClient) -> None:
    """Judge the facts: read the figures in the prose, as a reader would, and compute the change."""
    for msg, body in shift(bus):
        assert isinstance(body, Draft)
        before, after, stated = (float(number.replace(",", "")) for number in re.findall(NUMBER, body.text)[:3])
        verdict = FactCheck(stated_pct=stated, true_pct=change_pct(before, after))
        bus.send(address("publisher"), "fact-check", verdict, correlation_id=msg.correlation_id, reply_to=msg.id)


def publisher(bus: BusClient) -> None:
    """Publish a story when both verdicts on it are good; close the edition when every lead is a story."""
    verdicts: dict[str | None, dict[str, Message]] = defaultdict(dict)
    headlines: list[str] = []
    leads = None
    for msg, body in shift(bus):
        if isinstance(body, WireRead):
            leads = body.leads
        else:
            verdicts[msg.correlation_id][msg.type] = msg
            # The fan-in: the second verdict decides about the draft.
            if len(verdicts[msg.correlation_id]) == 2:
                pair = verdicts.pop(msg.correlation_id)
                headlines += settle(bus, pair["edit"], pair["fact-check"])
        if len(headlines) == leads:
            bus.send(f"*:{SESSION}", "edition", Edition(headlines=headlines), urgency="fyi")
            return  # a broadcast does not come back to its sender


def settle(bus: BusClient, edit: Message, fact_check: Message) -> list[str]:
    """Publish a draft or send it back; returns the headline if the draft is published."""
    assert edit.reply_to is not None
    draft = Draft.model_validate(bus.read(edit.reply_to).body)
    form, facts = Edit.model_validate(edit.body), FactCheck.model_validate(fact_check.body)
    if form.approved and facts.approved:
        story = Story(headline=form.headline, text=draft.text, revision=draft.revision)
        bus.send(address("chief"), "story", story, correlation_id=edit.correlation_id, reply_to=edit.reply_to)
        return [story.headline]
    faults = Returned(stated_pct=facts.stated_pct, true_pct=facts.true_pct, words_over=form.words_over)
    bus.send(address("writer"), "returned", faults, correlation_id=edit.correlation_id, reply_to=edit.reply_to)
    return []


def change_pct(before: float, after: float) -> float:
    return round(abs(after - before) / before * 100, 1)


def write(lead: Lead) -> Draft:
    """Write the prose of a lead, with the percentage of the agency."""
    rose = lead.after > lead.before
    figures = (
        f"The number of {lead.topic} {'rose' if rose else 'fell'} from {lead.before:,} to {lead.after:,}, "
        f"{'an increase' if rose else 'a decrease'} of {lead.stated_pct:.1f} percent."
    )
    headline = f"{lead.topic} {'up' if rose else 'down'} by {lead.stated_pct:.1f} percent"
    return Draft(revision=1, headline=headline, text=" ".join([figures, *lead.background]))


def revise(draft: Draft, faults: Returned) -> Draft:
    """Correct the percentage, and drop sentences from the end until the text is short enough."""
    wrong, right = (f"{pct:.1f} percent" for pct in (faults.stated_pct, faults.true_pct))
    sentences = re.split(r"(?<=\.) ", draft.text.replace(wrong, right))
    dropped = 0
    while dropped < faults.words_over and len(sentences) > 1:
        dropped += len(sentences.pop().split())
    headline = draft.headline.replace(wrong, right)
    return Draft(revision=draft.revision + 1, headline=headline, text=" ".join(sentences))


def title_case(headline: str) -> str:
    """Capitalise all words except small ones; the first word always."""
    first, *rest = headline.split()
    return " ".join([capital(first), *(word if word in SMALL_WORDS else capital(word) for word in rest)])


def capital(word: str) -> str:
    return word[:1].upper() + word[1:]


ROLES = {
    "scout": scout,
    "writer": writer,
    "editor": editor,
    "fact-checker": fact_checker,
    "publisher": publisher,
}


def main() -> None:
    role, db_path = sys.argv[1:]
    schemas.enforce()
    with BusClient.at(address(role), db_path) as bus:
        bus.send(address("chief"), "on-duty", OnDuty(pid=os.getpid()), urgency="fyi")
        ROLES[role](bus)


if __name__ == "__main__":
    main()
