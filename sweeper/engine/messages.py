"""The messages between driver and worker: a job to the worker, a message after each round back.

A worker that times packs answers once: with a `Timing`, with a `Refusal` if no form computes them
correctly, with a `BadConfig` if the network cannot be built so, or with None.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sweeper.states import Ending
from trainers.data_config import PLACES


@dataclass(frozen=True, kw_only=True)
class JobMember:
    """A run of the pack, open or already finished."""

    run: int
    attempt: int  # 0: finished before, and only repeated
    replicate: int
    config: dict[str, Any]  # JSON of trainers.config.Config, or of spec.own.OwnConfig


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    """Asks for the time of packs of a pack key, for each number of members.

    Their arithmetic is checked first.
    """

    key: str
    config: dict[str, Any]  # of one of its cells
    ks: tuple[int, ...]
    threads: int  # the most, if `auto_threads` lets the size of a step decide
    auto_threads: bool = True
    device: str
    fingerprints: dict[str, str] = field(default_factory=dict[str, str])  # as in `Job`
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A worker's timing; the fields of `plan.Price`, which the worker must not import."""

    key: str
    seconds_per_step: dict[int, float]
    form: str
    steps_per_run: int
    evaluation: float  # share of the seconds that evaluations take
    threads: int = 1
    findings: tuple[str, ...] = ()  # errors of the forms that are not used
    memory: dict[int, int] = field(default_factory=dict[int, int])
    context: int = 0
    device_memory: int = 0


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A worker's answer that it would compute wrongly.

    Attributes:
        text: the wrong layer and its error.
        form: the next form that is correct there; empty if none is.
    """

    text: str
    form: str = ""


@dataclass(frozen=True, kw_only=True)
class BadConfig:
    """A worker's answer that no run can have this configuration; `text` is for the user."""

    text: str


# What a worker answers when it is asked for the time of packs.
Answer = Timing | Refusal | BadConfig | None


@dataclass(frozen=True, kw_only=True)
class OwnTrainer:
    """A training function of the user's own, for a worker.

    Attributes:
        name: the name by which a plug-in file makes it known.
        function: the function itself, where no file has it: a notebook's.
        layout: what each report has, in the order of the numbers.
        files: absolute paths of what it reads, which must have this `fingerprint`.
    """

    name: str
    function: Any = None  # sweeper.trainables.Trainable
    layout: tuple[tuple[str, str, str], ...]
    files: tuple[str, ...] = ()
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """A pack for a worker: the whole composition, so that the same pack gives the same numbers.

    `drops` holds the members that have finished before, with the epoch by which they had left: they
    are trained again up to it and then dropped, unless they diverge before, because the arithmetic
    of a step depends on the number of members. `recorded` is the last epoch that the database holds
    for every open member: a checkpoint beyond the next evaluation would skip unrecorded numbers.
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
    own: OwnTrainer | None = None  # instead of Sweeper's trainer

    @property
    def number(self) -> int:
        """The newest of its attempts, which identifies this dispatch of the pack."""
        return max(member.attempt for member in self.members)

    @cached_property
    def identity(self) -> str:
        """Equal for jobs whose checkpoints are interchangeable, wherever the data are."""
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
    """A member's round; `numbers` in the sweep's layout, float32 little-endian.

    `numbers` is None if the round ended without an evaluation. `correct` has a bit for each test
    example in the last round of a run; see trainers.loop.RoundResult.
    """

    run: int
    attempt: int
    numbers: bytes | None
    end: Ending | None = None
    error: str = ""
    correct: bytes | None = None

    def ended(self, end: Ending) -> MemberResult:
        """The same result, ended by the driver."""
        return replace(self, end=end)


@dataclass(frozen=True, kw_only=True)
class PackProgress:
    """The progress of a pack.

    Attributes:
        round: rounds finished, of `rounds`.
        step: updates made.
        epoch: the recorded progress: epochs, or evaluations under a step budget.
        evaluation: the number of the evaluation that ended the round; 0 without one.
    """

    round: int = 0
    rounds: int = 1
    step: int = 0
    epoch: int = 0
    evaluation: int = 0


@dataclass(frozen=True, kw_only=True)
class Message:
    """A worker's message after each round. `failure` ends the whole pack, without numbers.

    Attributes:
        job: the number of its job, so that a late message is not taken for the next job's.
        unfit: why its node cannot do the work; ends the pack, and does not count against its runs.
        note: a problem for the user that does not end the pack.
    """

    pack: int
    job: int
    reached: PackProgress
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
