"""Jobs trained by a formula: what a played worker computes, and the checkpoints that it keeps.

The protocol is that of `sweeper.engine.worker`: a training goes on from a checkpoint that is not
ahead of what was recorded, leaves dropped members out, and sends a message after each round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sweeper.engine.messages import Job, JobMember, MemberResult, Message, PackProgress, Refusal
from sweeper.states import Ending
from trainers.config import Config
from trainers.rounds import Timetable

FORMS = ("folded", "mapped")
DIVERGES = 0.7  # a learning rate from which on runs diverge


def value(lr: float, *, replicate: int, epoch: int) -> float:
    """What a run is worth after so many epochs."""
    return 1 - abs(math.log10(lr) + 1) / 4 + replicate / 1000 + epoch / 1e4


def numbers(lr: float, *, replicate: int, epoch: int, length: int) -> bytes:
    """The numbers of a round; not finite where the run has diverged."""
    is_finite = lr < DIVERGES or epoch < 2
    worth = value(lr, replicate=replicate, epoch=epoch) if is_finite else math.nan
    return np.full(length, worth, dtype="<f4").tobytes()


def bits(lr: float, *, replicate: int) -> bytes:
    """Which test examples a complete run has right."""
    return f"{lr} {replicate}".encode()


@dataclass(frozen=True)
class Saved:
    """A checkpoint."""

    identity: str
    alive: frozenset[int]


@dataclass
class Disk:
    """The shared folder of checkpoints; it outlives everything. Folder -> round -> checkpoint."""

    folders: dict[str, dict[int, Saved]] = field(default_factory=dict)

    def save(self, folder: str, round: int, saved: Saved) -> None:
        """Keeps two, and none of a later round."""
        there = {
            number: one for number, one in self.folders.get(folder, {}).items() if number < round
        }
        kept = sorted(there)[-1:]
        self.folders[folder] = {number: there[number] for number in kept} | {round: saved}

    def latest(self, folder: str, *, at_most: int) -> tuple[int, Saved] | None:
        there = self.folders.get(folder, {})
        fitting = [number for number in there if number <= at_most]
        return (max(fitting), there[max(fitting)]) if fitting else None


class Training:
    """One job in a worker."""

    def __init__(self, job: Job, disk: Disk, *, length: int) -> None:
        self.job, self.disk, self.length = job, disk, length
        config = Config.model_validate(job.members[0].config)
        number = config.train.evaluations
        assert number is not None
        self.timetable = Timetable.of(config, evaluations=number, samples=64)
        self.round = self.from_epoch = 0
        self.alive = {member.run for member in job.members}
        self.open = self.alive - job.drops.keys()
        self.emptied = False
        self._resume()
        self._drop(self._due())

    def _resume(self) -> None:
        most = self.timetable.before_next(self.job.recorded)
        found = self.disk.latest(self.job.checkpoint_dir, at_most=most)
        if found is None or found[1].identity != self.job.identity:
            return
        if self.open <= found[1].alive:
            self.round = self.from_epoch = found[0]
            self.alive = set(found[1].alive)

    def _due(self) -> set[int]:
        reached = self.timetable.epoch(self.round)
        return {run for run, epoch in self.job.drops.items() if epoch <= reached}

    def _drop(self, runs: set[int]) -> None:
        self.emptied = self.emptied or self.alive <= runs
        if not self.emptied:
            self.alive -= runs

    def drop(self, runs: Sequence[int]) -> None:
        self._drop(set(runs))

    def save(self) -> None:
        self.disk.save(
            self.job.checkpoint_dir, self.round, Saved(self.job.identity, frozenset(self.alive))
        )

    def step(self) -> tuple[tuple[MemberResult, ...], bool]:
        """A round: what became of the members, and whether that was the last."""
        if self.round >= self.timetable.rounds or self.emptied:
            return (), True
        self.round += 1
        last = self.round >= self.timetable.rounds
        members = [member for member in self.job.members if member.run in self.alive]
        results = [self._result(member, last=last) for member in members]
        if not last:
            self._drop({one.run for one in results if one.end is Ending.DIVERGED} | self._due())
        open_ones = tuple(one for one in results if one.run in self.open)
        return open_ones, last or self.emptied

    def _result(self, member: JobMember, *, last: bool) -> MemberResult:
        lr, epoch = member.config["train"]["lr"], self.timetable.epoch(self.round)
        evaluated = self.timetable.evaluation(self.round)
        diverged = lr >= DIVERGES and epoch >= 2
        packed = numbers(lr, replicate=member.replicate, epoch=epoch, length=self.length)
        return MemberResult(
            run=member.run,
            attempt=member.attempt,
            numbers=packed if evaluated else None,
            end=Ending.DIVERGED if diverged else Ending.COMPLETE if last else None,
            error="a loss or an output is not finite" if diverged else "",
            correct=bits(lr, replicate=member.replicate) if last else None,
        )

    def say(
        self,
        node: str,
        seconds: float,
        members: tuple[MemberResult, ...],
        *,
        done: bool,
        failure: tuple[Ending, str] | None = None,
        refusal: Refusal | None = None,
    ) -> Message:
        """The message after a round."""
        reached = PackProgress(
            round=self.round,
            rounds=self.timetable.rounds,
            step=self.round,
            epoch=self.timetable.epoch(self.round),
            evaluation=self.timetable.evaluation(self.round) if self.round else 0,
        )
        return Message(
            pack=self.job.pack,
            job=self.job.number,
            reached=reached,
            seconds=seconds,
            node=node,
            device="cpu",
            from_epoch=self.from_epoch,
            members=members,
            done=done,
            failure=failure,
            refusal=refusal,
        )
