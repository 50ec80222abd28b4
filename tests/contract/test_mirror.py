"""What Optuna's own tools see of a sweep: everything here is read back through Optuna."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from optuna_dashboard import _note as dashboard_note
from sqlalchemy import update
from store_samples import HOLDER, LAYOUT, Plan, new_cell, planned

from sweeper.errors import LeaseLost, StoreError
from sweeper.states import Ending
from sweeper.store import Store
from sweeper.store import distributions as levels
from sweeper.store.lease import EXPIRY
from sweeper.store.records import NewCell
from sweeper.store.study import Study
from sweeper.store.tables import LeaseTable


@pytest.fixture
def mirror(store_url: str, plan: Plan) -> Iterator[Callable[..., Study]]:
    """Makes mirrors of the planned sweep, as several launches would; closes them afterwards."""
    made: list[Study] = []

    def make(**options: Any) -> Study:
        given = {"objective": "accuracy", "direction": "maximize", **options}
        made.append(Study(store_url, plan.sweep.name, **given))
        return made[-1]

    yield make
    for study in made:
        study.close()


@pytest.fixture
def loaded(store_url: str) -> Iterator[Callable[..., optuna.Study]]:
    """Loads a study as a user would, by URL and name."""
    storages: list[optuna.storages.RDBStorage] = []

    def load(name: str = "digits") -> optuna.Study:
        storages.append(
            optuna.storages.RDBStorage(store_url.replace("postgresql:", "postgresql+psycopg:"))
        )
        return optuna.load_study(study_name=name, storage=storages[-1])

    yield load
    for storage in storages:
        storage.remove_session()
        storage.engine.dispose()


def _finish_all(plan: Plan, values: list[float]) -> None:
    for run_id, value in zip(plan.run_ids, values, strict=True):
        plan.finish(run_id, value=value, epochs=3)


def test_a_finished_cell_is_a_complete_trial(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """Its value is the mean over replicates; error, n, values and test means are attributes."""
    _finish_all(plan, [0.5, 0.75, 0.25, 0.25])
    assert mirror().sync(plan.store, plan.lease, plan.sweep) == 2
    study = loaded()
    first, second = study.trials
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    assert (first.number, first.state, first.value) == (0, TrialState.COMPLETE, 0.625)
    assert study.best_trial.number == 0
    assert second.value == 0.25
    attributes = first.user_attrs
    expected = statistics.stdev([0.5, 0.75]) / math.sqrt(2)
    assert attributes["standard_error"] == pytest.approx(expected)
    assert attributes["n"] == 2
    assert attributes["replicates"] == {"0": 0.5, "1": 0.75}
    assert attributes["sweeper:cell"] == "cell-0"
    assert attributes["test_accuracy"] == pytest.approx(0.725)
    assert attributes["test_loss"] == 1.5


def test_intermediate_values_are_means_by_epoch(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """The objective on val, where every replicate has the epoch."""
    plan.finish(plan.run_ids[0], value=0.5, epochs=2)
    plan.finish(plan.run_ids[1], value=0.75, epochs=3)
    mirror().sync(plan.store, plan.lease, plan.sweep)
    assert loaded().trials[0].intermediate_values == {1: 0.3125, 2: 0.4375}


def test_an_unfinished_cell_is_not_shown(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """Nothing is RUNNING in Optuna, and the trial appears once its last run has ended."""
    study = mirror()
    plan.finish(plan.run_ids[0])
    plan.begin([plan.run_ids[1]])
    assert study.sync(plan.store, plan.lease, plan.sweep) == 0
    assert loaded().trials == []
    plan.finish(plan.run_ids[1])
    assert study.sync(plan.store, plan.lease, plan.sweep) == 1
    assert study.sync(plan.store, plan.lease, plan.sweep) == 0
    assert len(loaded().trials) == 1


def test_a_pruned_cell_is_pruned_with_its_epoch(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """Its value is the last mean that was compared, and it is never the best trial."""
    plan.begin(plan.run_ids[:2])
    for run_id, value in zip(plan.run_ids[:2], (0.75, 1.0), strict=True):
        plan.record(plan.report(run_id, epoch=1, value=value, ending=Ending.PRUNED))
    for run_id in plan.run_ids[2:]:
        plan.finish(run_id, value=0.25)
    mirror().sync(plan.store, plan.lease, plan.sweep)
    study = loaded()
    assert (study.trials[0].state, study.trials[0].value) == (TrialState.PRUNED, 0.875)
    assert study.trials[0].user_attrs["pruned_epoch"] == 1
    assert study.best_trial.number == 1


def test_a_failed_cell_fails_with_its_reasons(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """The endings by replicate and the first error's text; no value."""
    plan.begin(plan.run_ids[:2])
    for run_id in plan.run_ids[:2]:
        plan.record(plan.report(run_id, value=None, ending=Ending.DIVERGED, error="loss is nan"))
    mirror().sync(plan.store, plan.lease, plan.sweep)
    (trial,) = loaded().trials
    assert (trial.state, trial.value) == (TrialState.FAIL, None)
    assert trial.user_attrs["failed"] == {"0": "diverged", "1": "diverged"}
    assert trial.user_attrs["error"] == "loss is nan"


def test_a_cell_with_one_failed_replicate_is_complete_over_the_others(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """n is the number of replicates, and with one replicate there is no standard error."""
    plan.finish(plan.run_ids[0], value=0.5)
    plan.begin([plan.run_ids[1]])
    plan.record(plan.report(plan.run_ids[1], value=None, ending=Ending.DIVERGED))
    mirror().sync(plan.store, plan.lease, plan.sweep)
    (trial,) = loaded().trials
    assert (trial.state, trial.value, trial.user_attrs["n"]) == (TrialState.COMPLETE, 0.5, 1)
    assert trial.user_attrs["standard_error"] is None
    assert trial.user_attrs["failed"] == {"1": "diverged"}


def test_the_data_frame_just_works(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """One row a cell, the metric's name in the column, parameters with their own types."""
    _finish_all(plan, [0.5, 0.5, 0.25, 0.25])
    mirror().sync(plan.store, plan.lease, plan.sweep)
    frame = loaded().trials_dataframe()
    assert list(frame["value_accuracy"]) == [0.5, 0.25]
    assert list(frame["params_train.batch_size"]) == [2, 8]
    assert list(frame["params_train.augmentation"]) == ["none", "none"]
    assert list(frame["state"]) == ["COMPLETE", "COMPLETE"]
    assert (frame["duration"].dt.total_seconds() >= 0).all()


def test_trials_say_when_they_ran(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """From the first attempt's start to the last one's end, in local time as Optuna has it."""
    _finish_all(plan, [0.5] * 4)
    mirror().sync(plan.store, plan.lease, plan.sweep)
    trial = loaded().trials[0]
    attempts = [a for a in plan.store.attempts(plan.sweep.id) if a.run_id in plan.run_ids[:2]]
    first, last = (
        min(a.started_at for a in attempts),
        max(a.ended_at or a.started_at for a in attempts),
    )
    assert _local(first) == trial.datetime_start
    assert _local(last) == trial.datetime_complete


def _local(moment: datetime) -> datetime:
    return moment.astimezone().replace(tzinfo=None)


def test_the_study_says_what_it_is(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """The question, whose it is, and the metric's name."""
    mirror(direction="minimize", objective="loss").sync(plan.store, plan.lease, plan.sweep)
    study = loaded()
    assert study.user_attrs["question"] == plan.sweep.question
    assert study.user_attrs["sweeper:sweep"] == "digits"
    assert study.metric_names == ["loss"]
    assert study.direction is optuna.study.StudyDirection.MINIMIZE


def test_values_of_the_test_split_are_called_so(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """Without a validation split the value is the test split's, and the metric's name says it."""
    bare = replace(plan.sweep, layout=tuple(key for key in LAYOUT if key[0] != "val"))
    mirror(objective="loss").sync(plan.store, plan.lease, bare)
    assert loaded().user_attrs["split"] == "test"
    assert loaded().metric_names == ["loss on the test split"]


def test_optunas_plots_and_importance_have_what_they_need(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """All trials share each parameter's distribution."""
    plan.store.add_cells(plan.lease, [new_cell(2), new_cell(3)])
    plan.run_ids = [run.id for run in plan.store.runs(plan.sweep.id)]
    _finish_all(plan, [0.1 * n for n in range(8)])
    mirror().sync(plan.store, plan.lease, plan.sweep)
    space = optuna.search_space.intersection_search_space(loaded().get_trials())
    assert space == {
        "train.batch_size": IntDistribution(2, 32, log=True),
        "train.augmentation": CategoricalDistribution(["none", "flip"]),
    }


def test_tuning_cells_live_in_a_study_of_their_own(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """Nobody compares values of different replicates; the levels of a range keep its scale."""
    tuning = [
        new_cell(n, role="tuning", replicates=(-1,), factors={"train.lr": lr})
        for n, lr in enumerate((0.02, 0.3))
    ]
    cells = plan.store.add_cells(plan.lease, tuning)
    for run in plan.store.runs(plan.sweep.id):
        if run.cell_id in {cell.id for cell in cells}:
            plan.finish(run.id, value=0.5)
    assert mirror().sync(plan.store, plan.lease, plan.sweep) == 2
    assert loaded().trials == []
    trials = loaded("digits.tuning").trials
    assert [trial.params for trial in trials] == [{"train.lr": 0.02}, {"train.lr": 0.3}]
    assert not [name for name in trials[0].user_attrs if name.startswith("test_")]
    assert trials[0].distributions["train.lr"] == FloatDistribution(0.01, 1.0, log=True)


def test_a_driver_that_died_before_the_mirror_is_caught_up_once(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """Two further launches: the first mirrors what is missing, the second nothing."""
    _finish_all(plan, [0.5] * 4)
    assert mirror().sync(plan.store, plan.lease, plan.sweep) == 2
    assert mirror().sync(plan.store, plan.lease, plan.sweep) == 0
    assert len(loaded().trials) == 2


def test_a_mirror_that_fails_midway_leaves_nothing(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Trial and mark are one transaction."""
    _finish_all(plan, [0.5] * 4)
    study = mirror()
    with monkeypatch.context() as patch:
        patch.setattr("sweeper.store.trials._point", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            study.sync(plan.store, plan.lease, plan.sweep)
    assert loaded().trials == []
    assert study.sync(plan.store, plan.lease, plan.sweep) == 2
    assert [trial.number for trial in loaded().trials] == [0, 1]


def test_a_deleted_study_is_made_again(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """The mirror is derived: who deletes it loses nothing."""
    _finish_all(plan, [0.5, 0.5, 0.25, 0.25])
    mirror().sync(plan.store, plan.lease, plan.sweep)
    study = loaded()
    study._storage.delete_study(study._study_id)
    assert mirror().sync(plan.store, plan.lease, plan.sweep) == 2
    assert [trial.value for trial in loaded().trials] == [0.5, 0.25]


def test_further_replicates_renew_the_trial_in_place(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """One trial a cell, whatever the spec asks later."""
    study = mirror()
    _finish_all(plan, [0.5] * 4)
    study.sync(plan.store, plan.lease, plan.sweep)
    plan.store.add_cells(plan.lease, [new_cell(0, replicates=(0, 1, 2))])
    run_id = plan.store.runs(plan.sweep.id)[-1].id
    plan.finish(run_id, value=0.8, epochs=3)
    assert study.sync(plan.store, plan.lease, plan.sweep) == 1
    trials = loaded().trials
    assert [trial.number for trial in trials] == [0, 1]
    assert trials[0].value == pytest.approx(0.6)
    assert trials[0].user_attrs["n"] == 3


def test_a_retried_cell_renews_its_failed_trial(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """FAIL becomes COMPLETE, with the same number and no trace of the failure."""
    study = mirror()
    plan.begin(plan.run_ids[:2])
    for run_id in plan.run_ids[:2]:
        plan.record(plan.report(run_id, value=None, ending=Ending.ERROR), max_attempts=1)
    study.sync(plan.store, plan.lease, plan.sweep)
    plan.store.retry_failed(plan.lease, None)
    plan.attempts.clear()
    for run_id in plan.run_ids[:2]:
        plan.finish(run_id)
    assert study.sync(plan.store, plan.lease, plan.sweep) == 1
    (trial,) = loaded().trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
    assert "failed" not in trial.user_attrs


def test_a_level_added_later_is_told_of_all_trials(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """The old trials get the wider distribution too, by whichever launch adds it."""
    study = mirror()
    _finish_all(plan, [0.5] * 4)
    study.sync(plan.store, plan.lease, plan.sweep)
    wide = new_cell(9, factors={"train.batch_size": 512, "train.augmentation": "mixup"})
    plan.store.add_cells(plan.lease, [wide])
    for run in plan.store.runs(plan.sweep.id)[-2:]:
        plan.finish(run.id)
    assert study.sync(plan.store, plan.lease, plan.sweep) == 3
    trials = loaded().trials
    assert [trial.params["train.augmentation"] for trial in trials] == ["none", "none", "mixup"]
    assert {trial.distributions["train.batch_size"] for trial in trials} == {
        IntDistribution(2, 512, log=True)
    }


def test_a_driver_that_was_taken_over_mirrors_nothing(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """The mirror is fenced like every other write."""
    study = mirror()
    study.sync(plan.store, plan.lease, plan.sweep)
    _finish_all(plan, [0.5] * 4)
    back = update(LeaseTable).values(beat_at=LeaseTable.beat_at - EXPIRY - 5)
    plan.store.database.write(lambda connection: connection.execute(back))
    plan.store.acquire(plan.sweep.id, HOLDER)
    with pytest.raises(LeaseLost):
        study.sync(plan.store, plan.lease, plan.sweep)
    with pytest.raises(LeaseLost):
        study.set_note("late")
    assert loaded().trials == []


def _ask(plan: Plan, study: Study, hash: str) -> int:
    space = {"train.batch_size": IntDistribution(2, 32, log=True)}
    number, params = study.ask(space)
    cell = NewCell(
        hash=hash, role="report", factors=params, config={}, class_counts=(1,),
        replicates=(0,), optuna_number=number,
    )  # fmt: skip
    plan.store.add_cells(plan.lease, [cell])
    return number


def test_an_asked_trial_becomes_the_cells(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """It is RUNNING meanwhile, ends with the sampler's own parameters, and teaches the sampler."""
    sampler = optuna.samplers.TPESampler(seed=1, n_startup_trials=2, multivariate=False)
    study = mirror(sampler=sampler)
    study.sync(plan.store, plan.lease, plan.sweep)
    for turn in range(4):
        number = _ask(plan, study, f"asked-{turn}")
        asked = loaded().trials[number]
        assert asked.state is TrialState.RUNNING
        plan.finish(plan.store.runs(plan.sweep.id)[-1].id, value=0.1 * turn)
        assert study.sync(plan.store, plan.lease, plan.sweep) == 1
        told = loaded().trials[number]
        assert told.state is TrialState.COMPLETE
        assert (told.params, told.distributions) == (asked.params, asked.distributions)
    assert [trial.number for trial in loaded().trials] == [0, 1, 2, 3]
    assert mirror().sync(plan.store, plan.lease, plan.sweep) == 0


def test_asked_trials_keep_their_parameters_when_renewed(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """A later launch that writes all trials anew leaves the sampler's distributions."""
    study = mirror()
    study.sync(plan.store, plan.lease, plan.sweep)
    number = _ask(plan, study, "asked")
    before = loaded().trials[number].distributions
    run_id = plan.store.runs(plan.sweep.id)[-1].id
    for _ in range(2):
        if run_id not in plan.attempts:
            plan.finish(run_id)
        study.sync(plan.store, plan.lease, plan.sweep)
        cell = plan.store.cells(plan.sweep.id)[-1]
        plan.store.add_cells(plan.lease, [new_cell(0, hash=cell.hash, replicates=(0, 1))])
        plan.finish(plan.store.runs(plan.sweep.id)[-1].id)
    study.sync(plan.store, plan.lease, plan.sweep)
    trial = loaded().trials[number]
    assert (trial.distributions, trial.user_attrs["n"]) == (before, 2)


def test_a_running_trial_that_no_cell_owns_is_failed(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """A driver died between asking and adding: the next one ends the trial, and only that one."""
    study = mirror()
    study.sync(plan.store, plan.lease, plan.sweep)
    study.ask({"x": FloatDistribution(0.0, 1.0)})
    _ask(plan, study, "owned")
    mirror().sync(plan.store, plan.lease, plan.sweep)
    assert [trial.state for trial in loaded().trials] == [TrialState.FAIL, TrialState.RUNNING]


def _optimised(study: optuna.Study, value: float, *, times: int) -> None:
    """What users do who think that the study is theirs."""

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("train.lr", 0.001, 0.5)
        return value

    study.optimize(objective, n_trials=times)


def test_trials_that_somebody_else_has_added_are_failed_and_named_once(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """The best trial is again a trial of the sweep; the others can still be read."""
    _finish_all(plan, [0.5, 0.75, 0.25, 0.25])
    mirror().sync(plan.store, plan.lease, plan.sweep)
    ours = loaded().trials
    _optimised(loaded(), 0.99, times=2)
    assert loaded().best_value == 0.99
    said: list[str] = []
    for _ in range(2):  # as two launches
        study = mirror(say=said.append)
        study.sync(plan.store, plan.lease, plan.sweep)
        study.settle(plan.store, plan.lease, plan.sweep)
    [line] = said
    assert "study 'digits' has 2 finished trials that are not Sweeper's (2, 3)" in line
    study = loaded()
    assert (study.best_trial.number, study.best_value) == (0, 0.625)
    assert study.trials[:2] == ours
    for foreign in study.trials[2:]:
        assert foreign.state is TrialState.FAIL
        assert foreign.user_attrs["sweeper:foreign"] == {"state": "COMPLETE", "value": 0.99}
        assert set(foreign.params) == {"train.lr"}


def test_only_the_driver_with_the_lease_marks_foreign_trials(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """One that was taken over writes nothing."""
    _finish_all(plan, [0.5, 0.75, 0.25, 0.25])
    mirror().sync(plan.store, plan.lease, plan.sweep)
    _optimised(loaded(), 0.99, times=1)
    plan.store.release(plan.lease)
    plan.store.acquire(plan.sweep.id, HOLDER)
    with pytest.raises(LeaseLost):
        mirror().sync(plan.store, plan.lease, plan.sweep)
    assert loaded().best_value == 0.99


def test_a_sampler_does_not_learn_from_foreign_trials(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """It asks for what it asks for without them, however good they look."""

    def asked() -> dict[str, Any]:
        study = mirror(sampler=optuna.samplers.TPESampler(n_startup_trials=1, seed=0))
        study.sync(plan.store, plan.lease, plan.sweep)
        number, params = study.ask({"train.lr": FloatDistribution(0.001, 0.5)})
        study.study.tell(number, state=TrialState.FAIL)
        return params

    _finish_all(plan, [0.5, 0.75, 0.25, 0.25])
    before = asked()
    _optimised(loaded(), 0.99, times=20)
    assert asked() == before


def test_the_dashboard_reads_the_note(
    plan: Plan, mirror: Callable[..., Study], loaded: Callable[..., optuna.Study]
) -> None:
    """Long and short, the last one whole, in the dashboard's own form."""
    study = mirror()
    with pytest.raises(ValueError, match="sync first"):
        study.set_note("too early")
    study.sync(plan.store, plan.lease, plan.sweep)
    for text in ("# long\n" * 1000, "## short"):
        study.set_note(text)
        assert dashboard_note.get_note(loaded()) == text


def test_a_study_of_somebody_else_is_refused_untouched(
    store: Store, loaded: Callable[..., optuna.Study], mirror: Callable[..., Study], plan: Plan
) -> None:
    """Neither the sweep nor its mirror touches a study that was there before."""
    mirror().close()  # makes Optuna's tables
    storage = loaded_storage(store)
    for name in ("mine", "theirs.tuning"):
        optuna.create_study(study_name=name, storage=storage)
    for name in ("mine", "theirs"):
        with pytest.raises(StoreError, match=r"study '(mine|theirs\.tuning)' that is not Sweeper"):
            planned(store, name=name)
    assert [sweep.name for sweep in store.sweeps()] == ["digits"]
    optuna.create_study(study_name="digits", storage=storage)
    with pytest.raises(StoreError, match="study 'digits' that is not Sweeper"):
        mirror().sync(plan.store, plan.lease, plan.sweep)
    assert optuna.load_study(study_name="digits", storage=storage).user_attrs == {}
    storage.remove_session()
    storage.engine.dispose()


def loaded_storage(store: Store) -> optuna.storages.RDBStorage:
    url = store.database.address.url.render_as_string(hide_password=False)
    return optuna.storages.RDBStorage(url)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([2, 8, 32], IntDistribution(2, 32, log=True)),
        ([2, 8, 20], IntDistribution(2, 20)),
        ([0.05, 1.0], FloatDistribution(0.05, 1.0, log=True)),
        ([0, 0.1, 10.0], FloatDistribution(0.0, 10.0)),
        ([1, 2.5], FloatDistribution(1.0, 2.5)),
        ([0, 100], IntDistribution(0, 100)),
        ([True, False], CategoricalDistribution([True, False])),
        ([True, 1], CategoricalDistribution([True, 1])),
        (["b", "a", "b"], CategoricalDistribution(["b", "a"])),
        ([None, 0.5], CategoricalDistribution([None, 0.5])),
        ([[1, 2], "x"], CategoricalDistribution(["[1, 2]", "x"])),
        ([0.1], FloatDistribution(0.1, 0.1)),
    ],
)
def test_levels_get_a_useful_distribution(given: list[Any], expected: Any) -> None:
    """All numbers: an axis, logarithmic beyond tenfold. Anything else: a choice, in order."""
    distribution = levels.of_levels(given)
    assert distribution == expected
    for level in given:
        assert levels.contains(distribution, level)
        inner = levels.value_of(level, distribution)
        assert distribution.to_external_repr(inner) == levels.choice(level)


@pytest.mark.parametrize(
    ("distribution", "level"),
    [
        (IntDistribution(2, 8), 9),
        (IntDistribution(2, 8), "2"),
        (FloatDistribution(0.0, 1.0), True),
        (CategoricalDistribution([1, 2]), True),
        (CategoricalDistribution(["a"]), "b"),
    ],
)
def test_what_lies_outside_is_told_apart(distribution: Any, level: Any) -> None:
    """Such a level makes the study learn a wider distribution."""
    assert not levels.contains(distribution, level)
