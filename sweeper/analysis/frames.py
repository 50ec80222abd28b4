"""One sweep as frames. Nothing else in analysis or report reads the database.

Numbers come out of the store packed, one float32 vector a run and epoch in the order of the
sweep's layout; they are unpacked in bulk.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import islice
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import pandas as pd

from sweeper.analysis import nested
from sweeper.analysis.nested import AskedFactors
from sweeper.errors import StoreError, nearest
from sweeper.spec.own import IMPORTED
from sweeper.states import RunState
from sweeper.store.records import Attempt, Cell, Key, Observations, Pack, Predictions, Run, Sweep
from trainers.config import OBJECTIVES
from trainers.groups import CLASS_METRICS, GROUP_METRICS

CHUNK = 4096  # vectors unpacked at once
# What Sweeper's trainer measures of every run; other numbers are of observers.
METRICS = frozenset({*OBJECTIVES, *CLASS_METRICS, *GROUP_METRICS})
OBSERVED_TARGETS = ("group:minority", "group:majority", "")  # that the report compares
CURVES = {"train_loss": ("train", "loss", ""), "val_loss": ("val", "loss", "")}


class Reads(Protocol):
    """What the analysis asks of a store."""

    def sweep(self, name: str) -> Sweep | None: ...
    def sweeps(self) -> list[Sweep]: ...
    def cells(self, sweep_id: int) -> list[Cell]: ...
    def runs(self, sweep_id: int) -> list[Run]: ...
    def packs(self, sweep_id: int) -> list[Pack]: ...
    def attempts(self, sweep_id: int) -> list[Attempt]: ...
    def observations(self, sweep_id: int, *, last_only: bool) -> Iterator[Observations]: ...
    def curves(self, sweep_id: int, at: Sequence[int]) -> Iterator[Sequence[Sequence[Any]]]: ...
    def predictions(self, sweep_id: int) -> Sequence[Predictions]: ...


@dataclass(frozen=True)
class Frames:
    """One sweep.

    Attributes:
        cells: index `cell`; hash, role, factors (nested ones also as one),
            config, class_counts, hidden ...
        runs: index `run`, of the replicates that the spec wants; cell, replicate, state, epoch,
            value, ending, error, seconds.
        numbers: index `run`, one column a layout key (split, metric, target): the last epoch of
            COMPLETE runs only.
        curves: run, epoch, step, objective (on `split`), train_loss, val_loss (NaN without a
            validation split), and what was observed (see `observed`), of `runs`.
        attempts, packs: as recorded.
        correct: index `run`, column `bits`: which test examples a complete run has right (see
            `records.Predictions`). Runs that recorded none are left out; it may be empty.
    """

    sweep: Sweep
    cells: pd.DataFrame
    runs: pd.DataFrame
    numbers: pd.DataFrame
    curves: pd.DataFrame
    attempts: pd.DataFrame
    packs: pd.DataFrame
    correct: pd.DataFrame = field(default_factory=lambda: correct_bits(()))

    @property
    def final(self) -> pd.DataFrame:
        """`numbers` as one row a number: run, split, metric, target, value."""
        levels = list(range(self.numbers.columns.nlevels))
        long = self.numbers.stack(levels)  # pyright: ignore[reportArgumentType]
        return long.rename("value").reset_index()  # pyright: ignore

    @property
    def split(self) -> str:
        """Where curves are read: val, or test where the data have no validation split."""
        return self.sweep.objective_split

    @property
    def data(self) -> str:
        """What to call the data: their file, or the data set that comes by its name."""
        block = self.sweep.spec.get("data", {})
        return PurePath(block.get("path") or "").name or str(block.get("dataset", ""))

    @property
    def own_trainer(self) -> str:
        """The name of the user's own training function; empty for Sweeper's trainer."""
        return str(self.sweep.spec.get("trainer") or "")

    @property
    def imported(self) -> dict[str, Any]:
        """What is known of runs that others made; empty where Sweeper made them."""
        return dict(self.sweep.provenance.get("imported") or {})

    @property
    def foreign(self) -> bool:
        """Whether others made the runs, with a trainer that is not Sweeper's."""
        return self.own_trainer == IMPORTED

    @cached_property
    def question(self) -> AskedFactors:
        """The factors of the question; factors that depend on each other are one."""
        return nested.question(self.sweep.spec)

    @property
    def budgets(self) -> list[int]:
        """The epochs or steps of the reported cells, as far as their configurations have them."""
        trains = [config["train"] for config in self.reported["config"]]
        amounts = {train.get("steps") or train.get("epochs") for train in trains}
        return sorted(amounts - {None})

    @property
    def reported(self) -> pd.DataFrame:
        """The cells that the report speaks of: in the spec, and not tuning."""
        return self.cells[(self.cells["role"] == "report") & ~self.cells["hidden"]]

    @property
    def reported_runs(self) -> pd.DataFrame:
        return self.runs[self.runs["cell"].isin(self.reported.index)]


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Rows by the million hold no cycles; looking through them for some is half of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@_collector_paused()
def load(store: Reads, name: str, *, last_only: bool = False) -> Frames:
    """The sweep `name` as frames; `last_only` leaves curves and bits out, which take long to read.

    Raises:
        StoreError: there is no such sweep; the nearest name is given.
    """
    sweep = store.sweep(name)
    if sweep is None:
        known = [other.name for other in store.sweeps()]
        raise StoreError(f"no sweep named {name!r} in this database{nearest(name, known)}")
    found = store.runs(sweep.id)  # before the cells: a driver may be adding some
    asked = nested.question(sweep.spec)
    cells = {
        cell.id: replace(cell, factors=asked.levels(cell.factors)) for cell in store.cells(sweep.id)
    }
    wanted = [run for run in found if cells[run.cell_id].wants(run)]
    runs = table(wanted, Run, index="run", rename={"cell_id": "cell"})
    drawn = drawn_numbers(sweep)
    at = [sweep.layout.index(key) for key in drawn.values()]
    seen = curves(() if last_only else store.curves(sweep.id, at), names=list(drawn))
    return Frames(
        sweep=sweep,
        cells=table([*cells.values()], Cell, index="cell"),
        runs=runs,
        numbers=final_numbers(
            store.observations(sweep.id, last_only=True), runs=runs, layout=sweep.layout
        ),
        curves=seen[seen["run"].isin(runs.index)].reset_index(drop=True),
        attempts=table(store.attempts(sweep.id), Attempt, index="attempt"),
        packs=table(store.packs(sweep.id), Pack, index="pack"),
        correct=correct_bits(
            one
            for one in (() if last_only else store.predictions(sweep.id))
            if one.run_id in runs.index
        ),
    )


def table(
    records: Sequence[Any], kind: type, *, index: str, rename: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Records as a frame with the record's fields as columns, also when there are none."""
    names = [field.name for field in fields(kind)]
    rows = [[getattr(record, name) for name in names] for record in records]
    frame = pd.DataFrame({name: _column(rows, at) for at, name in enumerate(names)})
    return frame.rename(columns={"id": index, **(rename or {})}).set_index(index)


def _column(rows: list[list[Any]], at: int) -> pd.Series:
    values = [row[at] for row in rows]
    if not values or any(isinstance(value, dict | tuple) for value in values):
        return pd.Series(values, dtype=object)
    return pd.Series(values)


def final_numbers(
    observations: Iterator[Observations], *, runs: pd.DataFrame, layout: Sequence[Key]
) -> pd.DataFrame:
    """The last epoch's numbers of complete runs: (runs, L)."""
    complete = runs.index[runs["state"] == RunState.COMPLETE]
    keys, blocks = [], []
    for ids, matrix in unpack(observations, width=len(layout)):
        keys.append(ids)
        blocks.append(matrix)
    ids = np.concatenate(keys) if keys else np.empty((0, 3), dtype=np.int64)
    matrix = np.concatenate(blocks) if blocks else np.empty((0, len(layout)), dtype=np.float32)
    columns = pd.MultiIndex.from_tuples(layout, names=["split", "metric", "target"])
    frame = pd.DataFrame(matrix.astype(np.float64), index=ids[:, 0], columns=columns)
    frame.index.name = "run"
    reached = runs["epoch"].reindex(frame.index).to_numpy() == ids[:, 1]
    return frame[reached & frame.index.isin(complete)]


def correct_bits(predictions: Iterable[Predictions]) -> pd.DataFrame:
    """Each run's bits, as they were recorded."""
    found = {one.run_id: one.bits for one in predictions}
    index = pd.Index(list(found), dtype="int64", name="run")
    return pd.DataFrame({"bits": pd.Series(list(found.values()), index=index, dtype=object)})


def observed(sweep: Sweep) -> dict[str, Key]:
    """What observers measured of the targets that the report compares, by name.

    A name is `train gradient_noise group:minority`.
    """
    if sweep.spec.get("trainer"):
        return {}
    keys = [one for one in sweep.layout if one[1] not in METRICS and one[2] in OBSERVED_TARGETS]
    return {" ".join(filter(None, key)): key for key in keys}


def drawn_numbers(sweep: Sweep) -> dict[str, Key]:
    """What the curves show of each round, by name, as far as the layout has it."""
    wanted = {
        "objective": (sweep.objective_split, sweep.spec["objective"]["metric"], ""),
        **CURVES,
        **observed(sweep),
    }
    return {name: key for name, key in wanted.items() if key in sweep.layout}


def curves(chunks: Iterable[Sequence[Sequence[Any]]], *, names: Sequence[str]) -> pd.DataFrame:
    """The numbers of each run and epoch that the page draws: `names` are those that come."""
    have = ["run", "epoch", "step", *names]
    wanted = dict.fromkeys(["run", "epoch", "step", "objective", *CURVES, *names])
    parts = [_columns(rows) for rows in chunks if rows]
    data = [np.concatenate(column) for column in zip(*parts, strict=True)] or [[]] * len(have)
    frame = pd.DataFrame(dict(zip(have, data, strict=True)))
    whole = dict.fromkeys(["run", "epoch", "step"], np.int64)
    frame = frame.astype(whole).reindex(columns=list(wanted))
    return frame.sort_values(["run", "epoch"], ignore_index=True)


def _columns(rows: Sequence[Sequence[Any]]) -> list[np.ndarray]:
    run, epoch, step, *numbers = zip(*rows, strict=True)
    whole = [np.array(column, dtype=np.int64) for column in (run, epoch, step)]
    return whole + [_floats(column, width=1)[:, 0].astype(np.float64) for column in numbers]


def unpack(
    observations: Iterator[Observations], *, width: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of (run, epoch, step) as int64 (n, 3), and numbers as float32 (n, width).

    Raises:
        StoreError: a vector's length is not the layout's.
    """
    stream = iter(observations)
    while chunk := list(islice(stream, CHUNK)):
        ids = np.array([(one.run_id, one.epoch, one.step) for one in chunk], dtype=np.int64)
        yield ids, _floats([one.numbers for one in chunk], width=width)


def _floats(vectors: Sequence[bytes], *, width: int) -> np.ndarray:
    if set(map(len, vectors)) - {4 * width}:
        raise StoreError("the numbers recorded do not fit the sweep's layout")
    return np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), width)


def last_epoch(config: Mapping[str, Any]) -> int:
    """Where a cell's runs end: their last epoch, or evaluation under a step budget."""
    train = config["train"]
    if train.get("steps") is None:
        return train["epochs"]
    return min(train["evaluations"], train["steps"])
