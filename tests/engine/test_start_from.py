"""A sampler starts from the finished cells of another sweep in the same database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from stages import SPEC, staged

from sweeper import search
from sweeper.engine.cells import CellMaker
from sweeper.engine.start_from import start_of
from sweeper.errors import SpecError
from sweeper.spec import Spec, parse
from sweeper.states import Ending
from sweeper.store import Store
from sweeper.store.records import Lease, NewSweep
from sweeper.store.study import Study

SEARCH = """
name: search
data: {dataset: digits}
train: {epochs: 3, batch_size: 32, evaluations: 3}
scientific:
  train.lr: {low: 0.001, high: 1.0, log: true}
  train.momentum: [0.0, 0.5, 0.9]
search: {method: tpe, trials: 6}
start_from: staged
replicates: 2
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with a finished sweep: two cells, of the learning rates 0.01 and 0.1."""
    with staged(tmp_path, SPEC) as stage:
        job = stage.begin()
        for round in (1, 2):
            stage.say(job, round)
        stage.say(job, 3, end=Ending.COMPLETE)
        stage.store.release(Lease(sweep_id=stage.sweep_id, epoch=1))
    return f"sqlite:///{tmp_path}/staged.db"


def opened(url: str, spec: Spec, *, times: int = 1) -> optuna.Study:
    """The study of the search after so many launches that ask for nothing."""
    maker = CellMaker(spec)
    maker.facts_of(spec.config_for({}))
    with Store.open(url, create=False) as store:
        sweep = store.create_sweep(
            NewSweep(
                name=spec.name,
                question="",
                spec_text="",
                spec=spec.model_dump(mode="json"),
                layout=maker.layout,
                facts=maker.facts,
                provenance={},
            )
        )
        for _ in range(times):
            start = start_of(spec, maker, store)
            lease = store.acquire(sweep.id, {"host": "h", "pid": 1})
            study = Study(
                url,
                spec.name,
                objective=spec.objective.metric,
                start=start,
                direction=spec.objective.direction,
                sampler=search.sampler(spec),
            )
            with closing(study):
                study.sync(store, lease, sweep)
                study.ask(search.distributions(spec))
                study.settle(store, lease, sweep)
            store.release(lease)
        assert store.cells(sweep.id) == []
    return optuna.load_study(study_name=spec.name, storage=url)


def test_finished_cells_become_marked_trials_once(url: str) -> None:
    """They have the sampler's own distributions, and are no cells of this sweep."""
    spec = parse(SEARCH)
    seen = opened(url, spec, times=2)
    told = [trial for trial in seen.trials if trial.state is TrialState.COMPLETE]
    assert sorted(trial.params["train.lr"] for trial in told) == [0.01, 0.1]
    assert all(trial.params["train.momentum"] == 0.9 for trial in told)
    assert all(trial.distributions == search.distributions(spec) for trial in told)
    marks = [trial.user_attrs["sweeper:start_from"] for trial in told]
    assert {mark["sweep"] for mark in marks} == {"staged"}
    assert not any("sweeper:cell" in trial.user_attrs for trial in told)
    with Store.open(url, create=False) as store:
        other = store.sweep("staged")
        assert other is not None
        rates = {cell.id: cell.factors["train.lr"] for cell in store.cells(other.id)}
        runs = store.runs(other.id)
    for trial in told:
        values = [run.value for run in runs if rates[run.cell_id] == trial.params["train.lr"]]
        assert trial.value == pytest.approx(np.mean(np.array(values, dtype=float)), abs=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("staged\n", "stagged\n", "no such sweep in this database; did you mean 'staged'"),
        ("low: 0.001", "low: 0.5", "their train.lr is not in this search space"),
        ("epochs: 3,", "epochs: 4,", "they differ in data, budget"),
        ("replicates:", "objective: loss\nreplicates:", "has values of minority_accuracy on val"),
    ],
)
def test_what_does_not_fit_is_refused(url: str, old: str, new: str, reason: str) -> None:
    """Before anything starts, with the key, the name and the reason."""
    spec = parse(SEARCH.replace(old, new))
    maker = CellMaker(spec)
    with (
        Store.open(url, create=False) as store,
        pytest.raises(SpecError, match="start_from: 'stag.*" + reason),
    ):
        start_of(spec, maker, store)
