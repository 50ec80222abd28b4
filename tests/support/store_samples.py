"""Small sweeps for the tests of the store: built through its own contract, nothing run."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeper.states import Ending, RunState
from sweeper.store import Store
from sweeper.store.records import Cell, End, Lease, NewCell, NewPack, NewSweep, Pack, Report, Sweep

LAYOUT = (
    ("train", "accuracy", ""),
    ("val", "accuracy", ""),
    ("val", "recall", "class:a"),
    ("test", "accuracy", ""),
    ("test", "loss", ""),
)
SPEC = {
    "scientific": {"train.batch_size": [2, 8, 32], "train.augmentation": ["none", "flip"]},
    "nuisance": {"train.lr": {"low": 0.01, "high": 1.0, "log": True, "trials": 4}},
}
HOLDER = {"host": "elsewhere", "pid": 4242}  # of no machine that a test could know to be dead


def new_sweep(name: str = "digits", **changes: Any) -> NewSweep:
    given: dict[str, Any] = {
        "name": name,
        "question": "Do small batches serve the minority?",
        "spec_text": "name: digits\n",
        "spec": SPEC,
        "layout": LAYOUT,
        "facts": {"fingerprint": "f" * 8},
        "provenance": {"python": "3.11"},
    }
    return NewSweep(**{**given, **changes})


def new_cell(number: int, *, replicates: Sequence[int] = (0, 1), **changes: Any) -> NewCell:
    given: dict[str, Any] = {
        "hash": f"cell-{number}",
        "role": "report",
        "factors": {"train.batch_size": (2, 8, 32)[number % 3], "train.augmentation": "none"},
        "config": {"data": {}, "train": {"batch_size": 2}},
        "class_counts": (50, 5),
        "replicates": tuple(replicates),
    }
    return NewCell(**{**given, **changes})


def numbers(value: float) -> bytes:
    """One epoch's vector in `LAYOUT`: train, val, recall, test accuracy, test loss."""
    return struct.pack("<5f", value - 0.1, value, 0.25, value + 0.1, 1.5)


@dataclass
class Plan:
    """A planned sweep, with the attempts begun so far."""

    store: Store
    sweep: Sweep
    lease: Lease
    cells: list[Cell]
    run_ids: list[int]
    pack: Pack
    attempts: dict[int, int] = field(default_factory=dict)

    def begin(self, run_ids: Sequence[int] | None = None) -> dict[int, int]:
        made = self.store.begin(self.lease, self.pack.id, list(run_ids or self.run_ids))
        self.attempts |= made
        return made

    def report(
        self,
        run_id: int,
        *,
        epoch: int = 1,
        value: float | None = 0.5,
        ending: Ending | None = None,
        error: str = "",
        correct: bytes | None = None,
        **changes: Any,
    ) -> Report:
        """The report of a run's attempt at an epoch; with an end if `ending` is given."""
        end = (
            None
            if ending is None
            else End(ending=ending, value=value, error=error, correct=correct)
        )
        given: dict[str, Any] = {
            "run_id": run_id,
            "attempt_id": self.attempts[run_id],
            "epoch": epoch,
            "step": 10 * epoch,
            "numbers": None if value is None else numbers(value),
            "seconds": float(epoch),
            "end": end,
        }
        return Report(**{**given, **changes})

    def record(self, *reports: Report, max_attempts: int = 3) -> dict[int, RunState]:
        return self.store.record(self.lease, reports, max_attempts=max_attempts)

    def finish(self, run_id: int, *, value: float = 0.5, epochs: int = 2) -> None:
        """Begins the run, unless it has, and completes it, an epoch at a time."""
        if run_id not in self.attempts:
            self.begin([run_id])
        for epoch in range(1, epochs):
            self.record(self.report(run_id, epoch=epoch, value=value / 2))
        self.record(self.report(run_id, epoch=epochs, value=value, ending=Ending.COMPLETE))

    def run(self, run_id: int) -> Any:
        return next(run for run in self.store.runs(self.sweep.id) if run.id == run_id)

    def endings(self, run_id: int) -> list[Ending | None]:
        attempts = self.store.attempts(self.sweep.id)
        return [attempt.ending for attempt in attempts if attempt.run_id == run_id]

    def epochs(self, run_id: int) -> list[int]:
        seen = self.store.observations(self.sweep.id, last_only=False)
        return [one.epoch for one in seen if one.run_id == run_id]


def planned(store: Store, *, cells: Sequence[NewCell] | None = None, name: str = "digits") -> Plan:
    """A sweep with its lease, two cells of two replicates, and one pack of all runs."""
    sweep = store.create_sweep(new_sweep(name))
    lease = store.acquire(sweep.id, HOLDER)
    added = store.add_cells(lease, cells or [new_cell(0), new_cell(1)])
    run_ids = [run.id for run in store.runs(sweep.id)]
    new = NewPack(key="k", run_ids=tuple(run_ids), form="folded", seconds=1.0)
    return Plan(store, sweep, lease, added, run_ids, store.add_packs(lease, [new])[0])
