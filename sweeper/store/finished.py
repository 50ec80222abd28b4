"""Adds a sweep whose runs others made: all of its rows in one transaction, or none.

The sweep is new, so there is no driver to fence off. Afterwards it is like any other sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, insert, select, update

from sweeper.errors import StoreError
from sweeper.states import FINISHED, Ending, RunState
from sweeper.store import reads
from sweeper.store.recording import clean
from sweeper.store.records import NewCell, NewSweep, Sweep
from sweeper.store.store import Store, create_sweep
from sweeper.store.tables import (
    AttemptTable,
    CellTable,
    ObservationTable,
    PackTable,
    PredictionTable,
    RunTable,
    StageTable,
    SweepTable,
    clock,
)


@dataclass(frozen=True, kw_only=True)
class FinishedAttempt:
    """An attempt at a run; `pack` is a place in `Finished.packs`.

    Times are seconds since 1970; None: now.
    """

    pack: int
    number: int = 1
    device: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    from_epoch: int = 0
    seconds: float = 0.0
    ending: Ending | None
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run and its numbers; `cell` is a place in `Finished.cells`.

    Attributes:
        observations: epoch, step, and the numbers packed as in `records.Observations`.
        correct: as in `records.Predictions`.
    """

    cell: int
    replicate: int
    state: RunState
    epoch: int
    value: float | None = None
    ending: Ending | None
    error: str = ""
    seconds: float = 0.0
    attempts: tuple[FinishedAttempt, ...]
    observations: tuple[tuple[int, int, bytes], ...] = field(repr=False)
    correct: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class FinishedPack:
    """A pack; `runs` are places in `Finished.runs`."""

    key: str
    form: str = ""
    runs: tuple[int, ...]
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A whole sweep.

    Attributes:
        hidden: places of cells that the spec no longer has.
    """

    sweep: NewSweep
    state: str = "complete"
    state_reason: str = ""
    cells: Sequence[NewCell]
    hidden: frozenset[int] = frozenset()
    runs: Sequence[FinishedRun]
    packs: Sequence[FinishedPack]
    stages: Sequence[Mapping[str, Any]] = ()


def add(store: Store, new: Finished) -> Sweep:
    """Adds the sweep.

    Raises:
        StoreError: there is a sweep of that name, or a study that is not ours.
    """
    return store.database.write(lambda connection: _add(connection, new))


def taken(name: str) -> StoreError:
    """The error that a sweep of that name is there."""
    return StoreError(f"--name: a sweep '{name}' is in this database already; choose another name")


def _add(connection: Connection, new: Finished) -> Sweep:
    name = new.sweep.name
    found = reads.sweeps(connection, SweepTable.name == name)
    if found and found[0].provenance == new.sweep.provenance:
        return found[0]  # an earlier try of this call, whose commit was unknown
    if found:
        raise taken(name)
    sweep = create_sweep(connection, new.sweep)
    now = connection.execute(select(clock())).scalar_one()
    cells = _insert(connection, CellTable, _cells(new, sweep.id))
    runs = _insert(connection, RunTable, _runs(new, sweep.id, cells))
    packs = _insert(connection, PackTable, _packs(new, sweep.id, runs))
    attempts = _attempts(new, sweep.id, runs=runs, packs=packs, now=now)
    _insert(connection, AttemptTable, list(attempts))
    _add_numbers(connection, new, runs)
    stages = [
        {"sweep_id": sweep.id, "number": at, "body": dict(body)}
        for at, body in enumerate(new.stages)
    ]
    if stages:
        connection.execute(insert(StageTable), stages)
    connection.execute(
        update(SweepTable)
        .where(SweepTable.id == sweep.id)
        .values(state=new.state, state_reason=clean(new.state_reason))
    )
    return reads.sweeps(connection, SweepTable.id == sweep.id)[0]


def _insert(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> list[int]:
    """Adds rows and returns their ids, in the order given."""
    if not rows:
        return []
    query = insert(table).returning(table.id, sort_by_parameter_order=True)
    return list(connection.execute(query, rows).scalars())


def _cells(new: Finished, sweep_id: int) -> list[dict[str, Any]]:
    waiting = [0] * len(new.cells)
    for run in new.runs:
        waiting[run.cell] += run.state not in FINISHED
    return [
        {
            **vars(cell),
            "optuna_number": None,  # the number of another database's study
            "sweep_id": sweep_id,
            "mirrored": False,
            "hidden": at in new.hidden,
            "open_runs": 0 if at in new.hidden else waiting[at],
        }
        for at, cell in enumerate(new.cells)
    ]


def _runs(new: Finished, sweep_id: int, cells: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "sweep_id": sweep_id,
            "cell_id": cells[run.cell],
            "replicate": run.replicate,
            "state": run.state,
            "epoch": run.epoch,
            "value": run.value,
            "ending": run.ending,
            "error": clean(run.error),
            "seconds": run.seconds,
            "forgiven": 0,
        }
        for run in new.runs
    ]


def _packs(new: Finished, sweep_id: int, runs: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {
            "sweep_id": sweep_id,
            "position": position,
            "key": pack.key,
            "form": pack.form,
            "run_ids": [runs[at] for at in pack.runs],
            "seconds": pack.seconds,
            "dissolved": False,
            "token": "",
        }
        for position, pack in enumerate(new.packs, 1)
    ]


def _attempts(
    new: Finished, sweep_id: int, *, runs: Sequence[int], packs: Sequence[int], now: float
) -> Iterator[dict[str, Any]]:
    for run, run_id in zip(new.runs, runs, strict=True):
        for one in run.attempts:
            yield {
                **{key: value for key, value in vars(one).items() if key != "pack"},
                "pack_id": packs[one.pack],
                "sweep_id": sweep_id,
                "run_id": run_id,
                "lease_epoch": 0,
                "node": "",
                "started_at": now if one.started_at is None else one.started_at,
                "ended_at": now if one.ended_at is None else one.ended_at,
                "error": clean(one.error),
            }


def _add_numbers(connection: Connection, new: Finished, runs: Sequence[int]) -> None:
    pairs = list(zip(new.runs, runs, strict=True))
    numbers = [
        {"run_id": run_id, "epoch": epoch, "step": step, "numbers": packed}
        for run, run_id in pairs
        for epoch, step, packed in run.observations
    ]
    if numbers:
        connection.execute(insert(ObservationTable), numbers)
    bits = [
        {"run_id": run_id, "bits": run.correct} for run, run_id in pairs if run.correct is not None
    ]
    if bits:
        connection.execute(insert(PredictionTable), bits)
