"""What a launch tells whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sweeper.engine.board import Board
from sweeper.engine.cells import REPORT
from sweeper.engine.eta import Eta
from sweeper.spec import Spec
from sweeper.states import RunState


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a sweep stands; seconds are None while nothing is known."""

    cells: int
    cells_done: int
    runs: Mapping[RunState, int]
    packs: int
    best: str
    eta_seconds: float | None
    eta_low: float | None
    eta_high: float | None
    may_follow: int = 0  # further runs at most, that a plan for replicates may ask for


Event: TypeAlias = str | Progress


class Best:
    """The best cell so far, by the mean over its replicates; kept as cells finish."""

    def __init__(self, spec: Spec, board: Board) -> None:
        where = " on test" if spec.objective.split == "test" else ""
        self._metric, self._board = f"{spec.objective.metric}{where}", board
        self._sign = 1.0 if spec.objective.direction == "maximize" else -1.0
        self._names = tuple(spec.scientific)
        self._cell: int | None = None
        self._means: dict[int, float] = {}

    def see(self, cell_id: int) -> None:
        """A cell has finished."""
        mean = self._board.mean(cell_id)
        if mean is None or self._board.cells[cell_id].role != REPORT:
            return
        again = cell_id == self._cell  # with further replicates, and maybe no longer the best
        self._means[cell_id] = mean
        if self._cell is None or self._sign * mean > self._sign * self._means[self._cell]:
            self._cell = cell_id
        elif again:
            self._cell = max(self._means, key=lambda one: self._sign * self._means[one])

    def __str__(self) -> str:
        if self._cell is None:
            return ""
        factors = self._board.cells[self._cell].factors
        levels = ", ".join(f"{n} {_short(factors[n])}" for n in self._names if n in factors)
        mean = self._means[self._cell]
        return f"{self._metric} {mean:.3f} at {levels}" if levels else f"{mean:.3f}"


def snapshot(
    board: Board, best: Best, eta: Eta, *, running: float | None, may_follow: int = 0
) -> Progress:
    """Everything at this moment; `running` is what packs in flight still need, in seconds."""
    left = eta.left(running)
    seconds, low, high = left if left is not None else (None, None, None)
    return Progress(
        cells=len(board.cells),
        cells_done=board.cells_done(),
        runs=board.counts(),
        packs=len(board.packs),
        best=str(best),
        eta_seconds=seconds,
        eta_low=low,
        eta_high=high,
        may_follow=may_follow,
    )


def _short(level: object) -> str:
    return f"{level:.4g}" if isinstance(level, float) else str(level)
