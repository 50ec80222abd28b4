"""Several objectives and constraints in Optuna's view, on every database."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import fmean

import optuna
import planted
import pytest
from optuna.trial import TrialState
from planted import Plan

from sweeper.spec.goals import constraint
from sweeper.store import Store
from sweeper.store.study import Study

MAJORITY = "majority_accuracy"


@pytest.fixture
def one() -> Plan:
    """A small sweep, in whose first cell the second objective is not a number."""
    made = planted.plan(levels={planted.BATCH: [2, 8, 32, 128]}, replicates=2)
    at = made.layout.index(("val", MAJORITY, ""))
    rising = {0: math.nan, 1: 0.9, 2: 0.7, 3: 0.5}
    for (cell, replicate), numbers in made.numbers.items():
        numbers[:, at] = rising[cell] + 0.01 * replicate
    return made


@pytest.fixture
def studies(store_url: str, store: Store, one: Plan) -> Iterator[Callable[[], optuna.Study]]:
    """Mirrors the sweep as a launch would, and loads it as a user would."""
    planted.fill(store, one)
    [sweep] = store.sweeps()
    lease = store.acquire(sweep.id, {"host": "h", "pid": 1})
    storages: list[optuna.storages.RDBStorage] = []

    def synced() -> optuna.Study:
        study = Study(
            store_url,
            sweep.name,
            objective="minority_accuracy",
            direction="maximize",
            also=[(MAJORITY, "maximize")],
            constraints=[constraint(MAJORITY, ">= 0.6")],
        )
        study.sync(store, lease, sweep)
        study.close()
        url = store_url.replace("postgresql:", "postgresql+psycopg:")
        storages.append(optuna.storages.RDBStorage(url))
        return optuna.load_study(study_name=sweep.name, storage=storages[-1])

    yield synced
    for storage in storages:
        storage.remove_session()
        storage.engine.dispose()


def means(one: Plan, metric: str) -> dict[str, float]:
    at = one.layout.index(("val", metric, ""))
    return {
        cell.hash: fmean(m[-1, at] for (of, _), m in one.numbers.items() if of == number)
        for number, cell in enumerate(one.cells)
    }


def test_each_trial_has_every_objective_and_its_constraints(
    one: Plan, studies: Callable[[], optuna.Study]
) -> None:
    """Optuna's best trials are the Pareto set of those that satisfy; a NaN is a failed trial."""
    seen = studies()
    assert [way.name for way in seen.directions] == ["MAXIMIZE", "MAXIMIZE"]
    first, second = means(one, "minority_accuracy"), means(one, MAJORITY)
    states = {trial.user_attrs["sweeper:cell"]: trial.state for trial in seen.trials}
    assert [states[cell.hash] for cell in one.cells] == [TrialState.FAIL] + 3 * [
        TrialState.COMPLETE
    ]
    complete = [trial for trial in seen.trials if trial.state is TrialState.COMPLETE]
    for trial in complete:
        own = trial.user_attrs["sweeper:cell"]
        assert trial.values == pytest.approx([first[own], second[own]], abs=1e-6)
        assert list(trial.constraints.values()) == [pytest.approx(0.6 - second[own], abs=1e-6)]
    allowed = [t for t in complete if t.values[1] >= 0.6]
    front = {
        t.number
        for t in allowed
        if not any(
            o.values[0] >= t.values[0] and o.values[1] >= t.values[1] and o.values != t.values
            for o in allowed
        )
    }
    assert len(allowed) == 2
    assert {trial.number for trial in seen.best_trials} == front


def test_a_second_launch_changes_no_trial(studies: Callable[[], optuna.Study]) -> None:
    """The trials of a sweep that has ended are the same, objective by objective."""
    before = [(t.number, t.state, t.values, t.constraints) for t in studies().trials]
    assert [(t.number, t.state, t.values, t.constraints) for t in studies().trials] == before


def test_the_last_numbers_of_runs_are_read(one: Plan, store: Store) -> None:
    """At the last epoch of the runs that are asked about: what the best cell so far reads."""
    planted.fill(store, one)
    [sweep] = store.sweeps()
    wanted = [run.id for run in store.runs(sweep.id) if run.replicate == 1]
    ends = store.last_observations(wanted)
    assert {end.run_id for end in ends} == set(wanted)
    assert len(ends) == len(wanted)
    epochs = {run.id: run.epoch for run in store.runs(sweep.id)}
    assert all(end.epoch == epochs[end.run_id] for end in ends)
    assert store.last_observations([]) == []
