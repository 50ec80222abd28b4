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


Event: TypeAlias = str | Progress


class Best:
    """The best cell so far, by the mean over its replicates; kept as cells finish."""

    def __init__(self, spec: Spec, board: Board) -> None:
        self._metric, self._board = spec.objective.metric, board
        self._sign = 1.0 if spec.objective.direction == "maximize" else -1.0
        self._names = tuple(spec.scientific)
        self._cell: int | None = None
        self._mean = 0.0

    def see(self, cell_id: int) -> None:
        """A cell has finished."""
        mean = self._board.mean(cell_id)
        if mean is None or self._board.cells[cell_id].role != REPORT:
            return
        if self._cell is None or self._sign * mean > self._sign * self._mean:
            self._cell, self._mean = cell_id, mean

    def __str__(self) -> str:
        if self._cell is None:
            return ""
        factors = self._board.cells[self._cell].factors
        levels = ", ".join(f"{n} {_short(factors[n])}" for n in self._names if n in factors)
        return f"{self._metric} {self._mean:.3f} at {levels}" if levels else f"{self._mean:.3f}"


def snapshot(board: Board, best: Best, eta: Eta, *, running: float | None) -> Progress:
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
    )


def _short(level: object) -> str:
    return f"{level:.4g}" if isinstance(level, float) else str(level)
