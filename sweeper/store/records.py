"""The inputs and outputs of the store: a frozen record for each table.

The numbers of an observation are packed: one float32 little-endian vector for a run and epoch, in
the order of the sweep's `layout`, a list of (split, metric, target). A target is "" (all classes),
"class:NAME" or "group:NAME".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sweeper.states import Ending, RunState

Key = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class NewSweep:
    """A question, as written and as resolved."""

    name: str
    question: str
    spec_text: str  # the file as the user wrote it
    spec: dict[str, Any]  # resolved, JSON
    layout: tuple[Key, ...]
    facts: dict[str, Any]  # of the data: fingerprint, kind, classes, shape, counts per split
    provenance: dict[str, Any]  # versions, git commit, hardware


@dataclass(frozen=True, kw_only=True)
class Sweep(NewSweep):
    id: int
    created_at: datetime
    updated_at: datetime
    state: str  # running, complete, interrupted, halted
    state_reason: str
    holder: dict[str, Any] | None  # host, pid, beat age in seconds, expired; None without a driver
    # Decisions about its replicates, oldest first: the plan, the number of replicates, why it
    # ended, the error spent, and the reasons (`analysis.precision`, `engine.precision`).
    stages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def objective_split(self) -> str:
        """The split of the objective: val, or test if the data have no validation split."""
        return "val" if any(split == "val" for split, _, _ in self.layout) else "test"

    @property
    def alive(self) -> bool:
        """Whether a driver holds it, as far as database and machine know."""
        return self.holder is not None and not self.holder.get("expired")


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A driver's right to write to one sweep."""

    sweep_id: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class NewCell:
    """A configuration: a level of every factor. `hash` is its identity in the sweep."""

    hash: str
    # report; or, in separate studies: tuning (a nuisance candidate, NAME.tuning), screening (one of
    # many cells, before the fresh replicates of the remaining cells, NAME.screening)
    role: str
    factors: dict[str, Any]  # dotted path -> level, scientific and nuisance
    config: dict[str, Any]  # {"data": ..., "train": ...}, JSON of trainers.config.Config
    class_counts: tuple[int, ...]  # training samples per class
    replicates: tuple[int, ...]  # the wanted ones; tuning replicates are negative: -1, -2 ...
    optuna_number: int | None = None  # a trial already asked from a sampler


@dataclass(frozen=True, kw_only=True)
class Cell(NewCell):
    id: int
    sweep_id: int
    mirrored: bool
    hidden: bool  # no longer in the spec

    def wants(self, run: Run) -> bool:
        """Whether the run counts; runs of unwanted replicates are kept and not used."""
        return run.cell_id == self.id and run.replicate in self.replicates


@dataclass(frozen=True, kw_only=True)
class Run:
    id: int
    cell_id: int
    replicate: int
    state: RunState
    epoch: int  # last epoch recorded, or in which it diverged; 0 before any
    value: float | None  # the objective (on val, if there is a val), when complete
    ending: Ending | None  # the deciding attempt's
    error: str
    seconds: float  # of training, all attempts


@dataclass(frozen=True, kw_only=True)
class NewPack:
    """Runs that a worker trains as one fused model; the composition never changes."""

    key: str
    run_ids: tuple[int, ...]
    form: str
    seconds: float  # estimated; 0 without a price


@dataclass(frozen=True, kw_only=True)
class Pack(NewPack):
    id: int
    sweep_id: int
    position: int  # the plan's order
    dissolved: bool  # its open runs were packed again (out of memory)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    id: int
    run_id: int
    pack_id: int
    number: int  # 1, 2 ... within the run
    lease_epoch: int
    node: str
    device: str
    started_at: datetime
    ended_at: datetime | None
    from_epoch: int  # round of the checkpoint from which it continued; 0 is a fresh start
    seconds: float  # of training
    ending: Ending | None
    error: str


@dataclass(frozen=True, kw_only=True)
class End:
    """How an attempt ended."""

    ending: Ending
    value: float | None = None
    error: str = ""
    correct: bytes | None = field(default=None, repr=False)  # as in `Predictions`


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report of one attempt: an epoch's numbers, its end, or both."""

    run_id: int
    attempt_id: int  # 0: the run ends (pruned, bad_config) before any attempt
    epoch: int = 0  # 0: no epoch was reached
    step: int = 0
    numbers: bytes | None = None
    seconds: float = 0.0  # of training since the attempt began
    from_epoch: int | None = None
    node: str | None = None
    device: str | None = None
    end: End | None = None

    @property
    def reaches(self) -> bool:
        """Whether it brings the run to `epoch`: it has numbers of that epoch, or diverged there."""
        diverged = self.end is not None and self.end.ending is Ending.DIVERGED
        return self.numbers is not None or (diverged and self.epoch > 0)


class Observations(NamedTuple):
    """A run's numbers at one epoch, packed; a tuple, because a sweep has a million of them."""

    run_id: int
    epoch: int
    step: int
    numbers: bytes


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Which test examples a complete run predicts correctly.

    Bit e of `bits`, from the lowest of each byte, is 1 if example e of the test split, in the data
    set's own order, is predicted correctly.
    """

    run_id: int
    bits: bytes = field(repr=False)
