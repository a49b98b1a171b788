"""Cuts of the power in a history: what the disk can hold at one moment after another, and whether that is enough."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from scripts.stress.outcome import Kind
from scripts.stress.power.commit_points import commits
from scripts.stress.power.disk_model import CERTAIN, LOSSES, Diskette
from scripts.stress.power.expectations import breaches
from scripts.stress.power.recording import DB, History
from scripts.stress.power.reopen import Opener
from scripts.stress.power.write_log import Made, Noted, Synced
from scripts.stress.trial import Round

# At each moment, besides what is certain, and where every moment is tried.
_TRIES, _FEW_TRIES = 2, 1
# More findings of one history say the same again.
_FINDINGS = 3
_UNCERTAIN = tuple(loss for loss in LOSSES if loss not in CERTAIN)


class Cutter:
    """Cuts the power in one history, and tells a round of what that breaks.

    A moment is a number: how many entries of the log came before it.
    """

    def __init__(self, history: History, round: Round) -> None:
        self._history = history
        self._round = round
        self._commits = commits(history.entries)
        self._opener = Opener(round.folder)
        self._found = 0
        self.longest_tail = 0

    def __enter__(self) -> Self:
        self._opener.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opener.__exit__(kind, error, trace)
        self._round.count("disk images", self._opener.opened)

    def cut(self) -> None:
        """Cut at every moment, or at as many as the history asks for."""
        self._digests = self._follow()
        moments = self._moments()
        diskette = Diskette()
        kept = set[int]()  # the files in which commits come to the disk
        safe = 0  # how many commits a sync has made safe
        for moment in range(len(self._history.entries) + 1):
            if moment in moments and self._found < _FINDINGS:
                self._cut_at(diskette, moment, safe)
            if moment == len(self._history.entries):
                break
            entry = self._history.entries[moment]
            diskette.apply(moment, entry)
            if isinstance(entry, Made) and entry.name.endswith("-wal"):
                kept.add(entry.file)
            elif isinstance(entry, Synced) and entry.file in kept:
                safe = self._commits_before(entry.begun)
            elif isinstance(entry, Synced):
                self._round.count("checkpoints")

    def _follow(self) -> list[str]:
        """Return the digest of the files before the first commit and after each, with nothing lost."""
        diskette = Diskette()
        ends = [self._history.begin - 1, *(commit.ended for commit in self._commits)]
        digests: list[str] = []
        for place, entry in enumerate(self._history.entries):
            diskette.apply(place, entry)
            while len(digests) < len(ends) and ends[len(digests)] <= place:
                digests.append(self._opener.digest(diskette.image("most", self._round.random)))
        if not digests:  # there was nothing before
            digests.append(self._opener.digest({}))
        self._round.count("commits", len(self._commits))
        return digests

    def _moments(self) -> set[int]:
        entries, chance = self._history.entries, self._round.random
        every = range(self._history.begin, len(entries) + 1)
        count = self._history.moments
        if not count:
            return set(every)
        places = range(self._history.begin, len(entries))
        turns = {place for place in places if isinstance(entries[place], Synced)}
        near = {place + step for place in turns for step in (-1, 0, 1)}
        near |= {place + 1 for place in places if isinstance(entries[place], Noted)}
        return {
            *chance.sample(sorted(near), min(count, len(near))),
            *chance.sample(every, min(count, len(every))),
            every[-1],
        }

    def _cut_at(self, diskette: Diskette, moment: int, safe: int) -> None:
        self._round.count("crash points")
        losses, tries = list(CERTAIN[:1]), _TRIES if self._history.moments else _FEW_TRIES
        if not diskette.loses_nothing():
            losses += [*CERTAIN[1:], *(self._round.random.choice(_UNCERTAIN) for _ in range(tries))]
        for loss in losses:
            image = diskette.image(loss, self._round.random)
            if loss not in CERTAIN and self._round.random.random() < 0.25:
                # It is no part of what is kept, but may still lie there.
                image[f"{DB}-shm"] = self._round.random.randbytes(32768)
            found = self._opener.open(image)
            where = f"power lost at {moment} of {len(self._history.entries)}, {loss}: "
            if found.wrong:
                self._tell("broken", where + found.wrong)
                continue
            for kind, words in breaches(self._history.steps, moment, found.facts):
                self._tell(kind, where + words)
            self._check_prefix(found.digest, moment, safe, where)

    def _check_prefix(self, digest: str, moment: int, safe: int, where: str) -> None:
        """Find after how many commits the files were as they are."""
        begun = sum(commit.begun < moment for commit in self._commits)
        fitting = [number for number in range(begun + 1) if self._digests[number] == digest]
        if not fitting:
            self._tell("broken", where + "so it was after no commit")
            return
        tail = self._commits_before(moment) - fitting[-1]
        self.longest_tail = max(self.longest_tail, tail)
        self._round.count("images without the last commits", tail > 0)
        if self._history.is_single and self._history.durability == "full":
            returned = (step.returned for step in self._history.steps if step.returned is not None)
            safe = max(safe, self._commits_before(max((place for place in returned if place < moment), default=0)))
        if fitting[-1] < safe:
            self._tell("lost", where + f"of {safe} commits that were safe {safe - fitting[-1]} are gone")

    def _commits_before(self, place: int) -> int:
        return sum(commit.ended < place for commit in self._commits)

    def _tell(self, kind: Kind, words: str) -> None:
        self._found += 1
        self._round.report(kind, words)
