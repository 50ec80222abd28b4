"""What passes between driver and worker: a job one way, a message after each round the other.

A worker that is asked to time packs answers once: with a `Timing`, with a `Refusal` where no form
computes them right, or with None.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sweeper.states import Ending
from trainers.config import PLACES


@dataclass(frozen=True, kw_only=True)
class JobMember:
    """One run of the pack, open or already finished."""

    run: int
    attempt: int  # 0: finished before, and only replayed
    replicate: int
    config: dict[str, Any]  # JSON of trainers.config.Config


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    """Time packs of one pack key, of each of so many members, as they would be trained here.

    Their arithmetic is checked first.
    """

    key: str
    config: dict[str, Any]  # of one of its cells
    ks: tuple[int, ...]
    threads: int  # at most, where `auto_threads` lets the size of a step decide
    auto_threads: bool = True
    device: str
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a worker has timed; the fields of `plan.Price`, which it must not import."""

    key: str
    seconds_per_step: dict[int, float]
    form: str
    steps_per_run: int
    evaluation: float  # share of the seconds that evaluations take
    threads: int = 1
    findings: tuple[str, ...] = ()  # what is wrong with the forms that are not used


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A worker's word that it would compute wrongly.

    Attributes:
        text: which layer is wrong, and how far off.
        form: the next form that is right there; nothing where none is.
    """

    text: str
    form: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One pack for one worker: the whole composition, so that the same pack gives the same numbers.

    `drops` holds the members that have finished before, with the epoch by which they had left:
    they are trained again up to it and dropped after it, unless they diverge before, because the
    arithmetic of a step depends on how many members take part. `recorded` is the last epoch that
    the database holds of every open member: a checkpoint beyond the next evaluation would skip
    numbers that nobody recorded.
    """

    pack: int
    members: tuple[JobMember, ...]
    drops: dict[int, int] = field(default_factory=dict)
    recorded: int = 0
    form: str
    threads: int
    device: str
    checkpoint_dir: str
    checkpoint_seconds: float
    fingerprints: dict[str, str]  # load key of a data block -> fingerprint of its content
    plugins: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """Tells this handing out of the pack from every other: the newest of its attempts."""
        return max(member.attempt for member in self.members)

    @cached_property
    def identity(self) -> str:
        """Equal for jobs whose checkpoints are interchangeable, wherever the data lie."""
        what = [
            [[m.run, m.replicate, _placeless(m.config)] for m in self.members],
            self.form,
            sorted(self.fingerprints.values()),
        ]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _placeless(config: dict[str, Any]) -> dict[str, Any]:
    data = {key: value for key, value in config["data"].items() if key not in PLACES}
    return {**config, "data": data}


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """One member's round; `numbers` in the sweep's layout, float32 little-endian.

    None where the round ended without an evaluation. `correct` has a bit a test example in the last
    round of a run; see trainers.loop.RoundResult.
    """

    run: int
    attempt: int
    numbers: bytes | None
    end: Ending | None = None
    error: str = ""
    correct: bytes | None = None

    def ended(self, end: Ending) -> MemberResult:
        """The same, ended by the driver."""
        return replace(self, end=end)


@dataclass(frozen=True, kw_only=True)
class Reached:
    """How far a pack has come.

    Attributes:
        round: rounds finished, of `rounds`.
        step: updates made.
        epoch: the same as it is recorded: epochs, or evaluations under a step budget.
        evaluation: the number of the evaluation that the round ended with; 0 without one.
    """

    round: int = 0
    rounds: int = 1
    step: int = 0
    epoch: int = 0
    evaluation: int = 0


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a worker says after each round. `failure` ends the whole pack, without numbers.

    Attributes:
        job: the number of the job that it is about: one that comes late is not taken for the next.
        unfit: why its node cannot do the work; ends the pack, and says nothing of its runs.
        note: for the user: something that goes wrong and does not end the pack.
    """

    pack: int
    job: int
    reached: Reached
    seconds: float  # of training, since the attempt began
    node: str
    device: str
    from_epoch: int
    members: tuple[MemberResult, ...]
    done: bool
    failure: tuple[Ending, str] | None = None
    unfit: str = ""
    note: str = ""
    refusal: Refusal | None = None
