"""Asks an Optuna pruner about running cells: the mean over replicates, all at the same round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

import optuna


class Pruning:
    """One in-memory study a role, because pruners compare the trials of one study.

    A cell is judged at a round once every one of its replicates has reached it, so a replicate
    that is ahead never stands for the cell.
    """

    def __init__(self, pruner: optuna.pruners.BasePruner, *, direction: str) -> None:
        self._pruner = pruner
        self._direction = optuna.study.StudyDirection[direction.upper()]
        self._studies: dict[str, optuna.Study] = {}
        self._trials: dict[int, optuna.Trial] = {}
        self._seen: dict[int, dict[int, dict[int, float]]] = {}  # cell -> round -> run -> value
        self._judged: dict[int, int] = {}  # cell -> last round that it was judged at

    def see(
        self, cell: int, *, role: str, run: int, epoch: int, value: float | None, of: Sequence[int]
    ) -> bool:
        """Takes one replicate's value; whether the cell should stop now. `of` are its runs."""
        if epoch <= self._judged.get(cell, 0):
            return False  # trained again after an interruption
        rounds = self._seen.setdefault(cell, {})
        values = rounds.setdefault(epoch, {})
        values[run] = math.nan if value is None else value
        if not set(values) >= set(of):
            return False
        del rounds[epoch]
        self._judged[cell] = epoch
        trial = self._trials.get(cell)
        if trial is None:
            trial = self._trials[cell] = self._study(role).ask()
        trial.report(fmean(values.values()), epoch)
        return trial.should_prune()

    def end(self, cell: int, *, value: float | None, pruned: bool) -> None:
        """The cell has ended; pruners learn from finished cells."""
        trial = self._trials.pop(cell, None)
        self._seen.pop(cell, None)
        if trial is None:
            return
        state = optuna.trial.TrialState
        if pruned:
            trial.study.tell(trial, state=state.PRUNED)
        elif value is None or math.isnan(value):
            trial.study.tell(trial, state=state.FAIL)
        else:
            trial.study.tell(trial, value)

    def _study(self, role: str) -> optuna.Study:
        if role not in self._studies:
            self._studies[role] = optuna.create_study(
                study_name=f"sweeper-{role}",  # Hyperband's brackets hash it
                direction=self._direction,
                pruner=self._pruner,
                sampler=optuna.samplers.RandomSampler(seed=0),
            )
        return self._studies[role]


def replay(
    pruning: Pruning,
    observed: Iterable[tuple[int, int, int, float | None]],
    *,
    role_of: dict[int, str],
    runs_of: dict[int, list[int]],
) -> None:
    """Shows an earlier launch's numbers to a new pruner: (cell, run, epoch, value), by epoch."""
    for cell, run, epoch, value in observed:
        pruning.see(cell, role=role_of[cell], run=run, epoch=epoch, value=value, of=runs_of[cell])
