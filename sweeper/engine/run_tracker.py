"""Tracks the sweep's cells, runs and packs in memory; only the recorder changes runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from statistics import fmean

from sweeper.states import FINISHED, Ending, RunState, move
from sweeper.store.records import Cell, Pack, Run


@dataclass(kw_only=True)
class TrackedRun:
    """A run and its current state."""

    id: int
    cell_id: int
    replicate: int
    state: RunState
    epoch: int
    value: float | None
    ending: Ending | None
    failures: int = 0  # attempts that count towards its failure

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def left_by(self) -> int:
        """The epoch by which a finished run has left its pack.

        A run that diverged between two evaluations left before the next evaluation, in a round that
        a step budget does not record; if it is trained again, it diverges there again.
        """
        return self.epoch + 1 if self.state is RunState.FAILED else self.epoch

    def valued_at(self, epoch: int) -> bool:
        """Returns whether the run has a value at an evaluated epoch, or may still get one."""
        if self.state is RunState.FAILED:
            return self.epoch > epoch  # a diverged run has no value at its last epoch
        return not self.finished or self.epoch >= epoch

    def record(self) -> Run:
        """The run as a record for the plan."""
        return Run(
            id=self.id,
            cell_id=self.cell_id,
            replicate=self.replicate,
            state=self.state,
            epoch=self.epoch,
            value=self.value,
            ending=self.ending,
            error="",
            seconds=0.0,
        )


@dataclass
class RunTracker:
    """Everything by id. A run takes part if its cell and its replicate are wanted."""

    cells: dict[int, Cell] = field(default_factory=dict)
    runs: dict[int, TrackedRun] = field(default_factory=dict)
    packs: dict[int, Pack] = field(default_factory=dict)
    of_cell: dict[int, list[TrackedRun]] = field(default_factory=dict)
    pack_of: dict[int, int] = field(default_factory=dict)  # run -> its open pack
    _counts: Counter[RunState] = field(default_factory=Counter)
    _left: dict[int, int] = field(default_factory=dict)  # cell -> unfinished runs

    def add(
        self,
        wanted: Iterable[tuple[Cell, Collection[int]]],
        runs: Iterable[Run],
        *,
        failures: dict[int, int] | None = None,
    ) -> None:
        """Adds cells, each with the replicates that the spec wants, and their runs."""
        replicates: dict[int, Collection[int]] = {}
        for cell, of_cell in wanted:
            self.cells[cell.id] = cell
            self.of_cell.setdefault(cell.id, [])
            self._left.setdefault(cell.id, 0)
            replicates[cell.id] = of_cell
        for run in runs:
            if run.id in self.runs or run.replicate not in replicates.get(run.cell_id, ()):
                continue
            now = TrackedRun(
                id=run.id,
                cell_id=run.cell_id,
                replicate=run.replicate,
                state=run.state,
                epoch=run.epoch,
                value=run.value,
                ending=run.ending,
                failures=(failures or {}).get(run.id, 0),
            )
            self.runs[run.id] = now
            self.of_cell[run.cell_id].append(now)
            self._counts[now.state] += 1
            self._left[run.cell_id] += not now.finished

    def add_packs(self, packs: Iterable[Pack]) -> None:
        """Adds packs that still hold a wanted run."""
        for pack in packs:
            if pack.dissolved:
                continue
            self.packs[pack.id] = pack
            for run in pack.run_ids:
                self.pack_of[run] = pack.id

    def dissolve(self, pack_id: int) -> None:
        """Removes a pack; its unfinished runs need another."""
        for run in self.packs.pop(pack_id).run_ids:
            self.pack_of.pop(run, None)

    def open_runs(self, pack: Pack) -> list[TrackedRun]:
        """The pack's unfinished runs that the spec wants."""
        known = (self.runs.get(run) for run in pack.run_ids)
        return [run for run in known if run is not None and not run.finished]

    def move(self, run_id: int, state: RunState) -> bool:
        """Sets a run's state; returns whether its cell has just finished."""
        run = self.runs[run_id]
        if state is run.state:
            return False
        self._counts[run.state] -= 1
        self._counts[state] += 1
        run.state = move(run.state, state)
        if not run.finished:
            return False
        self._left[run.cell_id] -= 1
        return self._left[run.cell_id] == 0

    def counts(self) -> dict[RunState, int]:
        """The number of runs in each state."""
        return {state: self._counts[state] for state in RunState}

    def finished(self, cell_id: int) -> bool:
        """Returns whether every run of the cell has ended."""
        return self._left[cell_id] == 0

    def cells_done(self) -> int:
        """The number of cells whose runs have all ended."""
        return sum(left == 0 for left in self._left.values())

    def unpacked(self) -> list[TrackedRun]:
        """Pending runs that are in no open pack, in the order of their cells."""
        return [
            run for run in self.runs.values() if not run.finished and run.id not in self.pack_of
        ]

    def values(self, cell_id: int) -> list[float]:
        """The objective of each complete replicate."""
        runs = self.of_cell[cell_id]
        return [r.value for r in runs if r.state is RunState.COMPLETE and r.value is not None]

    def mean(self, cell_id: int) -> float | None:
        """The cell's mean objective so far; None before any replicate is complete."""
        values = self.values(cell_id)
        return fmean(values) if values else None

    def cells_of(self, runs: Collection[int]) -> set[int]:
        """The cells of these runs."""
        return {self.runs[run].cell_id for run in runs if run in self.runs}
