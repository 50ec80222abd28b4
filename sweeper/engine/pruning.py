"""Asks an Optuna pruner about running cells: the replicates of a cell, at equal evaluations.

Pruners count evaluations, from 1, whatever rounds are between them. Most judge the mean over the
replicates; Wilcoxon's test compares replicate with replicate.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Collection, Mapping, Sequence
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
        self._trials: dict[int, list[optuna.Trial]] = {}
        self._seen: dict[
            int, dict[int, dict[int, float]]
        ] = {}  # cell -> evaluation -> replicate -> value
        self._judged: dict[int, int] = {}  # cell -> last evaluation at which it was judged

    def see(
        self,
        cell: int,
        *,
        group: str,
        replicate: int,
        evaluation: int,
        value: float | None,
        of: Sequence[int],
    ) -> bool:
        """Takes a replicate's value; returns whether the cell should stop.

        `of` are the replicates that have, or will have, a value at this evaluation.
        """
        if evaluation <= self._judged.get(cell, 0):
            return False  # repeated after an interruption
        seen = self._seen.setdefault(cell, {})
        values = seen.setdefault(evaluation, {})
        values[replicate] = math.nan if value is None else value
        if not set(values) >= set(of):
            return False
        del seen[evaluation]
        self._judged[cell] = evaluation
        return self._stops(cell, group, evaluation, values)

    def _stops(self, cell: int, group: str, evaluation: int, values: Mapping[int, float]) -> bool:
        """Whether the cell should stop at an evaluation; `values` by replicate."""
        trials = self._trials.setdefault(cell, [])
        if not trials:
            trials.append(self._study(group).ask())
        [trial] = trials
        trial.report(fmean(values.values()), evaluation)
        return trial.should_prune()

    def end(self, cell: int, *, value: float | None, pruned: bool) -> None:
        """Notes a cell's end; pruners learn from finished cells."""
        self._seen.pop(cell, None)
        state = optuna.trial.TrialState
        for trial in self._trials.pop(cell, ()):
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


class PairedPruning(Pruning):
    """Compares a cell with the best finished cell, replicate by replicate, at equal evaluations.

    The replicates are the instances of Optuna's WilcoxonPruner. Each evaluation has a study of its
    own, because values of one run at two evaluations are not independent.
    """

    def _stops(self, cell: int, group: str, evaluation: int, values: Mapping[int, float]) -> bool:
        if not all(map(math.isfinite, values.values())):
            return False  # the pruner cannot handle them
        trial = self._study(f"{group} at evaluation {evaluation}").ask()
        self._trials.setdefault(cell, []).append(trial)
        for replicate, value in values.items():
            trial.report(value, replicate)
        with warnings.catch_warnings():
            # Where the best cell lacks a replicate, the pruner compares the others, and says so.
            warnings.simplefilter("ignore")
            return trial.should_prune()


def pruning_of(pruner: optuna.pruners.BasePruner, *, direction: str) -> Pruning:
    """How this pruner is asked."""
    paired = isinstance(pruner, optuna.pruners.WilcoxonPruner)
    return (PairedPruning if paired else Pruning)(pruner, direction=direction)


def group_of(cell: Cell, scientific: Collection[str]) -> str:
    """The group of a cell: reported cells together, candidates of a scientific cell together.

    If candidates of other scientific cells judged a candidate, pruning would decide the sweep's
    question.
    """
    if cell.role != TUNING:
        return cell.role
    levels = {name: cell.factors.get(name) for name in scientific}
    return f"{cell.role} {json.dumps(levels, sort_keys=True)}"
