"""Optuna's samplers and pruners: the named one, without a warning, the same each time."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any, get_args

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.optuna import OptunaSearch

from sweeper import design, search, spec, tunes
from sweeper.spec import ADAPTIVE, Pruner, Search, Spec
from sweeper.spec.samplers import SAMPLERS

FACTORS = """\
name: n
train: {epochs: 27}
scientific:
  train.optimizer: [sgd, adamw]
  train.batch_size: [2, 8, 32]
  train.lr: {low: 0.01, high: 1.0, log: true}
  train.lr_batch: {low: 1, high: 100}
  train.width: {low: 0.5, high: 2.2, step: 0.25}
  train.ssl.batch_multiple: {low: 2, high: 9, step: 3}
  train.momentum: {low: 0.5, high: 0.9, levels: 3}
  train.sam.radius: [0.0, 0.1]
  train.sam.asymmetry: {levels: [0.0, 1.0], when: {train.sam.radius: 0.1}}
"""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(autouse=True)
def _plugged(monkeypatch) -> None:
    """What a plug-in file would set for `tune`."""
    monkeypatch.setattr(tunes, "SEARCHER", lambda *a: OptunaSearch(seed=a[-1]))
    monkeypatch.setattr(tunes, "SCHEDULER", lambda *_: AsyncHyperBandScheduler())


def stated(*, method: str = "tpe", pruner: str = "none") -> Spec:
    trials = "" if method == "factorial" else ", trials: 16"
    ranges = ("train.lr:", "train.lr_batch:")
    lines = FACTORS.splitlines(keepends=True)
    kept = (line for line in lines if method != "factorial" or not line.strip().startswith(ranges))
    return spec.parse("".join(kept) + f"search: {{method: {method}{trials}}}\npruner: {pruner}\n")


def study(found: Spec) -> optuna.Study:
    return optuna.create_study(
        study_name="n", sampler=search.sampler(found), pruner=search.pruner(found),
        direction="maximize",
    )  # fmt: skip


def quality(factors: dict[str, object]) -> float:
    """Best at the learning rate 0.1."""
    return -abs(float(str(factors["train.lr"])) - 0.1)


def told(found: Spec, number: int) -> list[dict[str, Any]]:
    """The parameters of cells asked for one by one, each with the value of its learning rate."""
    running, asked = study(found), []
    for _ in range(number):
        trial = running.ask(search.distributions(found))
        running.tell(trial, quality(trial.params))
        asked.append(trial.params)
    return asked


def test_every_factor_becomes_its_distribution() -> None:
    """Levels are categories, ranges stay ranges, and a range ends on its last step."""
    assert search.distributions(stated()) == {
        "train.optimizer": CategoricalDistribution(("sgd", "adamw")),
        "train.batch_size": CategoricalDistribution((2, 8, 32)),
        "train.lr": FloatDistribution(0.01, 1.0, log=True),
        "train.lr_batch": IntDistribution(1, 100),
        "train.width": FloatDistribution(0.5, 2.0, step=0.25),
        "train.ssl.batch_multiple": IntDistribution(2, 8, step=3),
        "train.momentum": CategoricalDistribution((0.5, 0.7, 0.9)),
        "train.sam.radius": CategoricalDistribution((0.0, 0.1)),
        "train.sam.asymmetry": CategoricalDistribution((0.0, 1.0)),
    }


@pytest.mark.parametrize("method", sorted(ADAPTIVE))
def test_an_adaptive_sampler_gives_cells_that_can_run(method: str) -> None:
    """Beyond its random start too, every point is a configuration; and no warning is given."""
    found = stated(method=method)
    for params in told(found, 6):
        cell = design.design(found, params)
        assert ("train.sam.asymmetry" in cell.factors) == (params["train.sam.radius"] == 0.1)
        assert cell.config.train.lr == params["train.lr"]
        assert set(params) == set(found.scientific)


def test_a_sampler_is_the_same_each_time() -> None:
    """The seed is the spec's, never the clock's."""
    assert told(stated(), 8) == told(stated(), 8)
    other = spec.parse(stated().text, overrides=["search={method: tpe, trials: 16, seed: 1}"])
    assert told(other, 8) != told(stated(), 8)


def test_a_sampler_learns() -> None:
    """After forty cells it proposes learning rates nearer to the best one than at its start."""
    values = [quality(params) for params in told(stated(), 40)]
    assert sum(values[-15:]) / 15 > sum(values[:4]) / 4


RANGES = """\
name: n
scientific:
  train.lr: {low: 0.01, high: 1.0, log: true}
  train.momentum: {low: 0.0, high: 0.9}
  train.batch_size: [2, 8]
search: {method: %s, trials: 48}
"""


def ran(found: Spec, running: optuna.Study, number: int) -> list[float]:
    values = []
    for _ in range(number):
        trial = running.ask(search.distributions(found))
        values.append(
            -abs(math.log10(trial.params["train.lr"]) + 1) - trial.params["train.momentum"]
        )
        running.tell(trial, values[-1])
    return values


@pytest.mark.parametrize("method", ["cma_es", "nsga2", "nsga3"])
def test_the_samplers_of_generations_learn_across_a_launch(method: str) -> None:
    """The next launch has a sampler of its own, and goes on from the recorded generations."""
    found = spec.parse(RANGES % method)
    running = study(found)
    first = ran(found, running, 24)
    running.sampler = search.sampler(found)
    later = ran(found, running, 24)
    assert fmean(later[-12:]) > fmean(first[:12]) + 0.2


def test_cma_es_says_what_it_draws_at_random() -> None:
    """It has no model of levels without an order."""
    [warning] = spec.parse(RANGES % "cma_es").warnings
    assert warning == (
        "<spec>:6: search: {'method': 'cma_es', 'trials': 48}: cma_es draws train.batch_size at "
        "random: it models ranges of numbers only"
    )
    assert spec.parse(RANGES % "tpe").warnings == ()


def test_cma_es_neither_writes_nor_loads_a_pickle() -> None:
    """Optuna's own does both: whoever writes to the database could run code in the driver."""
    found = spec.parse(RANGES % "cma_es")
    running = study(found)
    ran(found, running, 20)
    written = [trial.system_attrs for trial in running.trials]
    assert {key for one in written for key in one} == {"cma:generation"}
    assert max(one.get("cma:generation", 0) for one in written) >= 2
    # The planted text is no pickle, so loading it would raise.
    planted = running.ask(search.distributions(found))
    running._storage.set_trial_system_attr(planted._trial_id, "cma:optimizer:0", "00")
    running.tell(planted, 0.0)
    running.sampler = search.sampler(found)
    assert len(ran(found, running, 2)) == 2


def test_cells_in_flight_are_not_asked_for_twice() -> None:
    """Constant liar: several workers must not be sent to one place."""
    found = stated()
    running = study(found)
    for number in range(12):
        trial = running.ask(search.distributions(found))
        running.tell(trial, float(number))
    rates = [running.ask(search.distributions(found)).params["train.lr"] for _ in range(6)]
    assert len(set(rates)) == 6


def curve(found: Spec, value: float, running: optuna.Study) -> int:
    """How many epochs a cell of this constant value gets."""
    trial = running.ask()
    for epoch in range(1, found.train.epochs + 1):
        trial.report(value, epoch)
        if trial.should_prune():
            running.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return epoch
    running.tell(trial, value)
    return found.train.epochs


@pytest.mark.parametrize(
    ("pruner", "stopped_at"),
    [
        ("none", 27),
        ("asha", 1),
        ("median", 1),
        ("{method: asha, min_evaluations: 3}", 3),
        ("{method: asha, min_evaluations: 5, reduction: 2}", 5),
        ("{method: median, min_evaluations: 4}", 4),
        ("{method: median, startup: 20}", 27),
    ],
)
def test_a_pruner_stops_the_worst_cell_at_its_first_decision(pruner: str, stopped_at: int) -> None:
    """The best cell is never pruned; `min_evaluations` is the first decision."""
    found = stated(method="qmc", pruner=pruner)
    running = study(found)
    good = [curve(found, 0.9, running) for _ in range(6)]
    assert good[0] == 27
    assert curve(found, 0.1, running) == stopped_at
    assert curve(found, 1.0, running) == 27


def test_hyperband_stops_bad_cells_in_some_bracket() -> None:
    """Its brackets differ in how early they decide; over many bad cells some are stopped."""
    found = stated(method="qmc", pruner="hyperband")
    running = study(found)
    good = [curve(found, 0.9, running) for _ in range(10)]
    bad = [curve(found, 0.1, running) for _ in range(10)]
    assert good[0] == 27
    assert min(bad) < 27
    assert sum(bad) < sum(good)


def choices(model: type, field: str) -> set[str]:
    return set(get_args(model.model_fields[field].annotation))


def test_every_word_of_the_spec_has_its_factory() -> None:
    """A method that validates and then is not found would fail after the workers have started."""
    assert set(search.SAMPLERS) == choices(Search, "method") == set(SAMPLERS)
    assert set(search.PRUNERS) == choices(Pruner, "method")


@pytest.mark.parametrize("method", sorted(search.SAMPLERS))
@pytest.mark.parametrize("pruner", sorted(search.PRUNERS))
def test_every_combination_is_built_without_a_warning(method: str, pruner: str) -> None:
    """Warnings are errors here: an experimental or deprecated argument would be one."""
    found = stated(method=method, pruner=pruner)
    assert isinstance(search.sampler(found), optuna.samplers.BaseSampler)
    assert isinstance(search.pruner(found), optuna.pruners.BasePruner)
