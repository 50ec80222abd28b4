"""Asks an Optuna pruner about running cells: the mean over replicates, at equal evaluations.

Pruners count evaluations, from 1, whatever rounds are between them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from statistics import fmean

import optuna

from sweeper.engine.cells import TUNING
from sweeper.store.records import Cell


class Pruning:
    """An in-memory study for each group, because pruners compare the trials of one study.

    A cell is judged at an evaluation once all of its replicates have reached it, so a replicate
    that is ahead never represents the cell.
    """

    def __init__(self, pruner: optuna.pruners.BasePruner, *, direction: str) -> None:
        self._pruner = pruner
        self._direction = optuna.study.StudyDirection[direction.upper()]
        self._studies: dict[str, optuna.Study] = {}
        self._trials: dict[int, optuna.Trial] = {}
        self._seen: dict[int, dict[int, dict[int, float]]] = {}  # cell -> evaluation -> ...
        self._judged: dict[int, int] = {}  # cell -> last evaluation at which it was judged

    def see(
        self,
        cell: int,
        *,
        group: str,
        run: int,
        evaluation: int,
        value: float | None,
        of: Sequence[int],
    ) -> bool:
        """Takes a replicate's value; returns whether the cell should stop. `of` are its runs."""
        if evaluation <= self._judged.get(cell, 0):
            return False  # repeated after an interruption
        seen = self._seen.setdefault(cell, {})
        values = seen.setdefault(evaluation, {})
        values[run] = math.nan if value is None else value
        if not set(values) >= set(of):
            return False
        del seen[evaluation]
        self._judged[cell] = evaluation
        trial = self._trials.get(cell)
        if trial is None:
            trial = self._trials[cell] = self._study(group).ask()
        trial.report(fmean(values.values()), evaluation)
        return trial.should_prune()

    def end(self, cell: int, *, value: float | None, pruned: bool) -> None:
        """Notes a cell's end; pruners learn from finished cells."""
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

    def _study(self, group: str) -> optuna.Study:
        if group not in self._studies:
            self._studies[group] = optuna.create_study(
                study_name=f"sweeper-{group}",  # Hyperband's brackets are hashes of it
                direction=self._direction,
                pruner=self._pruner,
                sampler=optuna.samplers.RandomSampler(seed=0),
            )
        return self._studies[group]


def group_of(cell: Cell, scientific: Collection[str]) -> str:
    """The group of a cell: reported cells together, candidates of a scientific cell together.

    If candidates of other scientific cells judged a candidate, pruning would decide the sweep's
    question.
    """
    if cell.role != TUNING:
        return cell.role
    levels = {name: cell.factors.get(name) for name in scientific}
    return f"{cell.role} {json.dumps(levels, sort_keys=True)}"
