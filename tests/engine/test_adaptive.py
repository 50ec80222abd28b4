"""Which cells an adaptive search asks for: none twice, and its first points first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from sweeper import search
from sweeper.engine.adaptive import Adaptive
from sweeper.engine.cells import CellMaker
from sweeper.spec import Spec, parse
from sweeper.store.records import NewCell

GRID = """
name: n
data: {dataset: digits}
scientific:
  train.lr: [0.01, 0.1, 1.0]
  train.batch_size: [2, 8]
  train.sam.radius: [0.0, 0.1]
  train.sam.asymmetry: {levels: [0.0, 1.0], when: {train.sam.radius: 0.1}}
search: {method: METHOD, trials: 40}
"""
CELLS = 3 * 2 * (1 + 2)


class InMemory:
    """A study like `store.study.Study`, without a database."""

    def __init__(self, spec: Spec) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(sampler=search.sampler(spec), direction="maximize")

    def ask(
        self,
        distributions: Mapping[str, BaseDistribution],
        *,
        fixed: Mapping[str, Any] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        if fixed:
            self.study.enqueue_trial(dict(fixed))
        trial = self.study.ask(fixed_distributions=dict(distributions))
        return trial.number, dict(trial.params)


class Stubborn(optuna.samplers.BaseSampler):
    """Always gives the same point."""

    def __init__(self, point: Mapping[str, Any]) -> None:
        self._point = point

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Any, trial: Any, param_name: str, param_distribution: Any
    ) -> Any:
        return self._point[param_name]


def searching(spec: Spec) -> tuple[Adaptive, InMemory, list[str]]:
    study, said = InMemory(spec), list[str]()
    adaptive = Adaptive(
        spec,
        CellMaker(spec),
        study,  # pyright: ignore[reportArgumentType]
        tell=lambda: None,
        unusable=lambda *_: None,
        say=said.append,
    )
    return adaptive, study, said


def run(adaptive: Adaptive, study: InMemory, *, most: int = 100) -> list[NewCell]:
    """Every cell of the search, each told as good as its learning rate."""
    found: list[NewCell] = []
    while len(found) < most and (new := adaptive.more(1)):
        number = new[0].optuna_number
        assert number is not None
        study.study.tell(number, float(new[0].factors["train.lr"]))
        found += new
    return found


@pytest.mark.parametrize("method", ["tpe", "nsga2"])
def test_a_small_space_is_tried_whole_and_then_ends_with_a_message(method: str) -> None:
    """A sampler that repeats itself gets an untried cell, and no cell is trained twice."""
    adaptive, study, said = searching(parse(GRID.replace("METHOD", method)))
    found = run(adaptive, study)
    assert len({cell.hash for cell in found}) == len(found) == CELLS
    assert not adaptive.unasked()
    assert said == [f"{method} found {CELLS} of 40 cells: the search space has no more"]
    done = [trial for trial in study.study.trials if trial.state is TrialState.COMPLETE]
    assert len(done) == CELLS
    assert not any(trial.state is TrialState.RUNNING for trial in study.study.trials)


def test_a_sampler_that_repeats_itself_is_given_up_soon() -> None:
    """A stubborn sampler costs ten questions a cell, not one for each cell of the space."""
    spec = parse(GRID.replace("METHOD", "tpe"))
    adaptive, study, _ = searching(spec)
    point = {"train.lr": 0.1, "train.batch_size": 2, "train.sam.radius": 0.0}
    study.study.sampler = Stubborn({**point, "train.sam.asymmetry": 0.0})
    found = run(adaptive, study, most=5)
    assert len({cell.hash for cell in found}) == 5
    assert len(study.study.trials) <= 5 * 11


def test_a_range_is_never_exhausted() -> None:
    """The next launch knows the cells of earlier ones, and draws another."""
    spec = parse(GRID.replace("METHOD", "tpe").replace("[2, 8]", "{low: 2, high: 4000}"))
    adaptive, _, _ = searching(spec)
    [first] = adaptive.more(1)
    again, later, _ = searching(spec)
    again.knows([first])
    later.study.sampler = Stubborn({"train.sam.asymmetry": 0.0, **first.factors})
    [second] = again.more(1)
    assert second.hash != first.hash


def test_the_first_points_come_first_and_once() -> None:
    """The sampler chooses what a point leaves out; the next launch does not try it again."""
    points = "first: [{train.lr: 1, train.batch_size: 8}, {train.batch_size: 2}]\n"
    spec = parse(GRID.replace("METHOD", "tpe") + points)
    adaptive, study, _ = searching(spec)
    one, two, *_ = found = run(adaptive, study, most=6)
    assert (one.factors["train.lr"], one.factors["train.batch_size"]) == (1.0, 8)
    assert two.factors["train.batch_size"] == 2
    again, later, _ = searching(spec)
    later.study.sampler = Stubborn({**found[0].factors, "train.sam.asymmetry": 0.0})
    again.knows(found[1:])
    [other] = again.more(1)
    assert other.factors.items() >= {"train.lr": 1.0, "train.batch_size": 8}.items()
    known, study, _ = searching(spec)
    known.knows(found)
    new = run(known, study, most=2)
    assert not {cell.hash for cell in new} & {cell.hash for cell in found}
