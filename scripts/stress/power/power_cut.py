"""Power cut: the possible contents of the disk at one moment after another, and whether each keeps the promises."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from scripts.stress.outcome import Kind
from scripts.stress.power.commit_points import commits
from scripts.stress.power.disk_model import CERTAIN, LOSSES, DiskModel
from scripts.stress.power.expectations import broken_promises
from scripts.stress.power.recording import DB, Recording
from scripts.stress.power.reopen import Reopener
from scripts.stress.power.write_log import Created, StepMark, Synced
from scripts.stress.trial import Round

# Random images per moment, besides the two certain ones: for chosen moments, and if every moment is tried.
_TRIES, _FEW_TRIES = 2, 1
# Further findings of one recording repeat the first.
_FINDINGS = 3
_UNCERTAIN = tuple(loss for loss in LOSSES if loss not in CERTAIN)


class PowerCutter:
    """Cuts the power in one recording, and reports the broken promises to a round.

    A moment is a number: the number of log entries before the cut.
    """

    def __init__(self, recording: Recording, round: Round) -> None:
        self._recording = recording
        self._round = round
        self._commits = commits(recording.entries)
        self._reopener = Reopener(round.folder)
        self._findings = 0
        self.longest_tail = 0

    def __enter__(self) -> Self:
        self._reopener.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reopener.__exit__(kind, error, trace)
        self._round.count("disk images", self._reopener.opened)

    def cut(self) -> None:
        """Cut at every moment, or at as many as the recording asks for."""
        self._digests = self._follow()
        moments = self._moments()
        disk = DiskModel()
        wals = set[int]()  # the WAL files
        safe = 0  # the number of commits that a sync has made safe
        for moment in range(len(self._recording.entries) + 1):
            if moment in moments and self._findings < _FINDINGS:
                self._cut_at(disk, moment, safe)
            if moment == len(self._recording.entries):
                break
            entry = self._recording.entries[moment]
            disk.apply(moment, entry)
            if isinstance(entry, Created) and entry.name.endswith("-wal"):
                wals.add(entry.file)
            elif isinstance(entry, Synced) and entry.file in wals:
                safe = self._commits_before(entry.begun)
            elif isinstance(entry, Synced):
                self._round.count("checkpoints")

    def _follow(self) -> list[str]:
        """Return the digest of the files before the first commit and after each, if nothing is lost."""
        disk = DiskModel()
        ends = [self._recording.begin - 1, *(commit.ended for commit in self._commits)]
        digests: list[str] = []
        for index, entry in enumerate(self._recording.entries):
            disk.apply(index, entry)
            while len(digests) < len(ends) and ends[len(digests)] <= index:
                digests.append(self._reopener.digest(disk.image("most", self._round.random)))
        if not digests:  # there was no file before
            digests.append(self._reopener.digest({}))
        self._round.count("commits", len(self._commits))
        return digests

    def _moments(self) -> set[int]:
        entries, rng = self._recording.entries, self._round.random
        every = range(self._recording.begin, len(entries) + 1)
        count = self._recording.moments
        if not count:
            return set(every)
        indexes = range(self._recording.begin, len(entries))
        turns = {index for index in indexes if isinstance(entries[index], Synced)}
        near = {index + step for index in turns for step in (-1, 0, 1)}
        near |= {index + 1 for index in indexes if isinstance(entries[index], StepMark)}
        return {
            *rng.sample(sorted(near), min(count, len(near))),
            *rng.sample(every, min(count, len(every))),
            every[-1],
        }

    def _cut_at(self, disk: DiskModel, moment: int, safe: int) -> None:
        self._round.count("crash points")
        losses, tries = list(CERTAIN[:1]), _TRIES if self._recording.moments else _FEW_TRIES
        if not disk.loses_nothing():
            losses += [*CERTAIN[1:], *(self._round.random.choice(_UNCERTAIN) for _ in range(tries))]
        for loss in losses:
            image = disk.image(loss, self._round.random)
            if loss not in CERTAIN and self._round.random.random() < 0.25:
                # The shared memory file is not durable, but an old one may remain.
                image[f"{DB}-shm"] = self._round.random.randbytes(32768)
            state = self._reopener.open(image)
            cut_description = f"power lost at {moment} of {len(self._recording.entries)}, {loss}: "
            if state.error:
                self._report("broken", cut_description + state.error)
                continue
            for kind, text in broken_promises(self._recording.steps, moment, state.facts):
                self._report(kind, cut_description + text)
            self._check_prefix(state.digest, moment, safe, cut_description)

    def _check_prefix(self, digest: str, moment: int, safe: int, cut_description: str) -> None:
        """Find the commit whose state the files have, and report a lost commit that was safe."""
        begun = sum(commit.begun < moment for commit in self._commits)
        matching = [number for number in range(begun + 1) if self._digests[number] == digest]
        if not matching:
            self._report("broken", cut_description + "the files match no commit")
            return
        tail = self._commits_before(moment) - matching[-1]
        self.longest_tail = max(self.longest_tail, tail)
        self._round.count("images without the last commits", tail > 0)
        if self._recording.is_single and self._recording.durability == "full":
            returned = (step.returned for step in self._recording.steps if step.returned is not None)
            safe = max(safe, self._commits_before(max((index for index in returned if index < moment), default=0)))
        if matching[-1] < safe:
            self._report("lost", cut_description + f"{safe - matching[-1]} of {safe} safe commits are lost")

    def _commits_before(self, index: int) -> int:
        return sum(commit.ended < index for commit in self._commits)

    def _report(self, kind: Kind, text: str) -> None:
        self._findings += 1
        self._round.report(kind, text)
