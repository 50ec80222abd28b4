"""The events of a launch for its watchers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sweeper.engine.cells import REPORT
from sweeper.engine.run_tracker import RunTracker
from sweeper.spec import Spec
from sweeper.spec.factors import short
from sweeper.states import RunState


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a sweep; seconds are None while unknown."""

    cells: int  # including those that will follow
    cells_done: int
    runs: Mapping[RunState, int]
    packs: int
    best: str
    eta_seconds: float | None
    eta_low: float | None
    eta_high: float | None
    awaited: int = 0  # runs that will follow once they are known
    may_follow: int = 0  # the most further runs that a plan for replicates may add

    @property
    def total(self) -> int:
        """Runs of the whole sweep, without those that a plan may add."""
        return sum(self.runs.values()) + self.awaited

    @property
    def left(self) -> int:
        """Runs that have not begun."""
        return self.runs.get(RunState.PENDING, 0) + self.awaited


@dataclass(frozen=True, kw_only=True)
class Probing:
    """The progress of the probe: kinds of runs that are timed, and those in work, by levels."""

    done: int
    total: int
    now: tuple[str, ...]


Event: TypeAlias = str | Progress | Probing


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """What will follow in a sweep: cells, their runs, and their price for `Eta.left`."""

    cells: int
    runs: int
    price: tuple[float, int]


class Best:
    """The best cell so far, by the mean over its replicates; updated as cells finish.

    Args:
        bounded: the mean of each constraint's metric, of a cell.
    """

    def __init__(
        self, spec: Spec, tracker: RunTracker, *, bounded: Callable[[int], Sequence[float]]
    ) -> None:
        where = " on test" if spec.objective.split == "test" else ""
        self._metric, self._tracker = f"{spec.objective.metric}{where}", tracker
        self._sign = 1.0 if spec.objective.direction == "maximize" else -1.0
        self._names, self._bounds, self._bounded = tuple(spec.scientific), spec.bounds, bounded
        self._cell: int | None = None
        self._seen = False
        self._means: dict[int, float] = {}

    def see(self, cell_id: int) -> None:
        """Compares a cell that has finished."""
        mean = self._tracker.mean(cell_id)
        if mean is None or self._tracker.cells[cell_id].role != REPORT:
            return
        self._seen = True
        again = cell_id == self._cell  # with further replicates it may no longer be the best
        self._means.pop(cell_id, None)
        if self._satisfies(cell_id):
            self._means[cell_id] = mean
        if again:
            key = lambda one: self._sign * self._means[one]  # noqa: E731
            self._cell = max(self._means, key=key, default=None)
        elif cell_id in self._means and self._ahead(mean):
            self._cell = cell_id

    def _satisfies(self, cell_id: int) -> bool:
        means = self._bounded(cell_id) if self._bounds else ()
        return all(one.excess(mean) <= 0 for one, mean in zip(self._bounds, means, strict=True))

    def _ahead(self, mean: float) -> bool:
        return self._cell is None or self._sign * mean > self._sign * self._means[self._cell]

    def __str__(self) -> str:
        if self._cell is None:
            named = " and ".join(one.text for one in self._bounds)
            return f"none yet satisfies {named}" if self._seen and named else ""
        factors = self._tracker.cells[self._cell].factors
        levels = levels_of({n: factors[n] for n in self._names if n in factors})
        mean = self._means[self._cell]
        return f"{self._metric} {mean:.3f} at {levels}" if levels else f"{mean:.3f}"


def snapshot(
    tracker: RunTracker,
    best: Best,
    left: tuple[float, float, float] | None,
    *,
    awaited: Awaited,
    may_follow: int = 0,
) -> Progress:
    """The progress at this moment; `left` comes from `Eta.left`."""
    seconds, low, high = left if left is not None else (None, None, None)
    return Progress(
        cells=len(tracker.cells) + awaited.cells,
        cells_done=tracker.cells_done(),
        runs=tracker.counts(),
        packs=len(tracker.packs),
        best=str(best),
        eta_seconds=seconds,
        eta_low=low,
        eta_high=high,
        awaited=awaited.runs,
        may_follow=may_follow,
    )


def levels_of(factors: Mapping[str, object]) -> str:
    """Levels in a line, with short names: `batch_size 8, train_ratio 0.05`."""
    return ", ".join(f"{short(name, factors)} {_level(one)}" for name, one in factors.items())


def _level(level: object) -> str:
    return f"{level:.4g}" if isinstance(level, float) else str(level)
