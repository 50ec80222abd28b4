"""Ray Tune's searchers and schedulers: they suggest cells, receive results, and stop runs."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import ConcurrencyLimiter, Searcher
from ray.tune.search.optuna import OptunaSearch

from sweeper import search, spec, tunes
from sweeper.errors import EngineError, InputError
from sweeper.spec import Spec

METRIC, ROUND = "minority_accuracy", "training_iteration"
TEXT = """\
name: n
train: {epochs: 27}
scientific:
  train.lr: {low: 0.01, high: 1.0, log: true}
  train.width: {low: 0.5, high: 2.2, step: 0.25}
  train.batch_size: [2, 8, 32]
search: {method: tune, trials: 16, seed: 3}
"""


class Listed(Searcher):
    """Suggests from a list, and keeps the results that it receives."""

    def __init__(self, points: list[Any]) -> None:
        super().__init__()
        self.points, self.told, self.properties = points, [], ()

    def set_search_properties(self, metric, mode, config, **_: Any) -> bool:
        self.properties = (metric, mode, config)
        return True

    def suggest(self, trial_id: str) -> Any:
        return self.points.pop(0) if self.points else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.told.append((trial_id, result[ROUND], result[METRIC]))

    def on_trial_complete(self, trial_id, result=None, error=False) -> None:
        self.told.append((trial_id, "error" if error else "end", result and result[METRIC]))


class Learning(Listed):
    """Takes trials of earlier launches too."""

    def add_evaluated_point(
        self, parameters, value, error=False, pruned=False, intermediate_values=None
    ) -> None:
        self.told.append((parameters["train.lr"], value, pruned, intermediate_values))


def point(lr: float, *, width: float = 0.5, batch: int = 8) -> dict[str, Any]:
    return {"train.lr": lr, "train.width": width, "train.batch_size": batch}


def sampled(monkeypatch, searcher: Searcher, said: list[str] | None = None) -> optuna.Study:
    monkeypatch.setattr(tunes, "SEARCHER", lambda *_: searcher)
    say = (said if said is not None else []).append
    sampler = search.sampler(spec.parse(TEXT), say=say)
    return optuna.create_study(sampler=sampler, direction="maximize")


def ask(study: optuna.Study) -> optuna.Trial:
    return study.ask(search.distributions(spec.parse(TEXT)))


def test_trials_follow_the_searcher_and_it_hears_how_they_ended(monkeypatch) -> None:
    """Values, rounds, pruned trials and failures reach it, each once, before it is asked again."""
    searcher = Listed([point(0.1), point(0.2), point(0.3), point(0.4)])
    study = sampled(monkeypatch, searcher)
    first, second, third = ask(study), ask(study), ask(study)
    assert [t.params for t in (first, second, third)] == [point(0.1), point(0.2), point(0.3)]
    first.report(0.5, 1)
    study.tell(first, 0.6)
    second.report(0.4, 2)
    study.tell(second, state=TrialState.PRUNED)
    study.tell(third, state=TrialState.FAIL)
    assert not searcher.told
    assert ask(study).params == point(0.4)
    heard = [
        ("00000", 1, 0.5),
        ("00000", "end", 0.6),
        ("00001", 2, 0.4),
        ("00001", "end", 0.4),
        ("00002", "error", None),
    ]
    assert searcher.told == heard
    with pytest.raises(tunes.SearchEnded):
        ask(study)
    assert searcher.told == heard
    assert study.trials[-1].state is TrialState.FAIL


def test_a_searcher_without_an_answer_is_asked_again(monkeypatch) -> None:
    """Tune's None is "not now"; after fifty in a row the search ends."""
    searcher = Listed([None, None, point(0.1), *[None] * 50, point(0.2)])
    study = sampled(monkeypatch, searcher)
    assert ask(study).params == point(0.1)
    with pytest.raises(tunes.SearchEnded):
        ask(study)


def test_the_searcher_gets_the_spec_as_a_space_of_tune(monkeypatch) -> None:
    """Every level can be drawn, and nothing outside; the highest whole number too."""
    text = TEXT.replace("  train.width", "  train.lr_batch: {low: 1, high: 3}\n  train.width")
    made: list[Any] = []
    monkeypatch.setattr(tunes, "SEARCHER", lambda *a: made.append(a) or Listed([]))
    search.sampler(spec.parse(text))
    [(space, metric, mode, seed)] = made
    assert (metric, mode, seed) == (METRIC, "max", 3)
    drawn = {name: {domain.sample() for _ in range(200)} for name, domain in space.items()}
    assert drawn["train.batch_size"] == {2, 8, 32}
    assert drawn["train.lr_batch"] == {1, 2, 3}
    assert 0.01 <= min(drawn["train.lr"]) < 0.1 < max(drawn["train.lr"]) <= 1.0
    assert 0.5 <= min(drawn["train.width"]) < max(drawn["train.width"]) <= 2.0


@pytest.mark.parametrize(("given", "width"), [(0.5, 0.5), (0.61, 0.5), (0.64, 0.75), (2.0, 2.0)])
def test_a_value_between_two_steps_becomes_the_nearest(monkeypatch, given, width) -> None:
    """Steps count from the lowest value, which Tune's do not."""
    study = sampled(monkeypatch, Listed([point(0.1, width=given)]))
    assert ask(study).params["train.width"] == width


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (point(2.0), "Listed gave train.lr: 2.0; the spec has FloatDistribution(high=1.0"),
        (point(0.1, batch=7), "Listed gave train.batch_size: 7; the spec has Categorical"),
        ({"train.lr": 0.1, "train.width": 0.5}, "Listed gave no train.batch_size; the spec has"),
        (point("high"), "Listed gave train.lr: 'high'; the spec has FloatDistribution"),  # type: ignore[arg-type]
    ],
)
def test_what_the_spec_has_not_is_never_trained(monkeypatch, given, text) -> None:
    """The message names the searcher, the factor and the value."""
    study = sampled(monkeypatch, Listed([given]))
    with pytest.raises(EngineError) as caught:
        ask(study)
    assert str(caught.value).startswith(text)


def earlier(study: optuna.Study) -> None:
    """Trials that another launch asked for."""
    levels = search.distributions(spec.parse(TEXT))
    for lr, state in [(0.1, TrialState.COMPLETE), (0.2, TrialState.PRUNED), (0.3, TrialState.FAIL)]:
        value = None if state is TrialState.FAIL else lr
        study.add_trial(
            optuna.trial.create_trial(
                params=point(lr),
                distributions=levels,
                value=value,
                state=state,
                intermediate_values={1: lr / 2, 2: lr},
            )
        )


def test_trials_of_earlier_launches_are_replayed(monkeypatch) -> None:
    """By `add_evaluated_point`, without those that failed, and once."""
    said: list[str] = []
    searcher = Learning([point(0.4), point(0.5)])
    study = sampled(monkeypatch, searcher, said)
    earlier(study)
    ask(study)
    ask(study)
    assert searcher.told == [(0.1, 0.1, False, [0.05, 0.1]), (0.2, 0.2, True, [0.1, 0.2])]
    assert not said


def test_a_searcher_that_cannot_be_told_of_earlier_launches_is_named(monkeypatch) -> None:
    """Once; it goes on with what it hears from now on."""
    said: list[str] = []
    study = sampled(monkeypatch, Listed([point(0.4), point(0.5)]), said)
    earlier(study)
    ask(study)
    earlier(study)
    ask(study)
    assert said == [
        "Listed has no add_evaluated_point: it does not learn from trials that earlier launches "
        "began"
    ]


def test_a_searcher_of_tunes_own_learns(monkeypatch) -> None:
    """After forty trials it suggests learning rates nearer to the best one than at its start."""
    monkeypatch.setattr(tunes, "SEARCHER", lambda *given: OptunaSearch(seed=given[-1]))
    study = optuna.create_study(sampler=search.sampler(spec.parse(TEXT)), direction="maximize")
    values = []
    for _ in range(40):
        trial = ask(study)
        values.append(-abs(trial.params["train.lr"] - 0.1))
        study.tell(trial, values[-1])
    assert sum(values[-10:]) / 10 > sum(values[:10]) / 10


def curves(number: int = 12, rounds: int = 9) -> list[list[float]]:
    """Values of trials, good and bad ones in turn, that rise and cross."""
    return [
        [0.1 * ((5 * t) % number) + 0.03 * r * ((t * 7) % 3) for r in range(1, rounds + 1)]
        for t in range(number)
    ]


def pruned(study: optuna.Study, values: list[list[float]]) -> list[int]:
    """How many rounds each trial gets, three at a time."""
    found: list[int] = []
    for start in range(0, len(values), 3):
        running = {t: study.ask() for t in range(start, start + 3)}
        lasted = dict.fromkeys(running, 0)
        for r in range(len(values[0])):
            for t, trial in list(running.items()):
                trial.report(values[t][r], r + 1)
                lasted[t] = r + 1
                if trial.should_prune():
                    assert trial.should_prune(), "a stopped trial stays stopped"
                    study.tell(running.pop(t), state=TrialState.PRUNED)
        for t, trial in running.items():
            study.tell(trial, values[t][-1])
        found += lasted.values()
    return found


class Hand:
    """A trial, and a controller without others that wait, as a scheduler sees them."""

    status = "RUNNING"

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id

    def get_live_trials(self) -> list[Any]:
        return []


def fed(scheduler: TrialScheduler, values: list[list[float]]) -> list[int]:
    """The same by hand: the scheduler's own methods in Tune's order."""
    scheduler.set_search_properties(METRIC, "max")
    controller: Any = Hand("")
    found: list[int] = []
    for start in range(0, len(values), 3):
        running: dict[int, Any] = {t: Hand(f"by hand {t}") for t in range(start, start + 3)}
        lasted = dict.fromkeys(running, 0)
        ended: list[tuple[Any, dict[str, Any]]] = []
        for trial in running.values():
            scheduler.on_trial_add(controller, trial)
        for r in range(len(values[0])):
            for t, trial in list(running.items()):
                result = {ROUND: r + 1, METRIC: values[t][r]}
                lasted[t] = r + 1
                if scheduler.on_trial_result(controller, trial, result) == TrialScheduler.STOP:
                    scheduler.on_trial_complete(controller, running.pop(t), result)
        for t, trial in running.items():
            ended.append((trial, {ROUND: len(values[0]), METRIC: values[t][-1]}))
        for trial, result in ended:
            scheduler.on_trial_complete(controller, trial, result)
        found += lasted.values()
    return found


def halving() -> TrialScheduler:
    return AsyncHyperBandScheduler(max_t=20, grace_period=2, reduction_factor=2)


def median() -> TrialScheduler:
    return MedianStoppingRule(time_attr=ROUND, grace_period=2, min_samples_required=2)


def pruning(monkeypatch, make, *, text: str = TEXT) -> optuna.Study:
    monkeypatch.setattr(tunes, "SCHEDULER", lambda *_: make())
    pruner = search.pruner(spec.parse(text + "pruner: tune\n"))
    return optuna.create_study(pruner=pruner, direction="maximize", study_name="n")


@pytest.mark.parametrize("make", [halving, median])
def test_a_scheduler_stops_the_trials_that_it_stops_by_hand(monkeypatch, make) -> None:
    """At the same rounds; some are stopped, and some are not."""
    found = pruned(pruning(monkeypatch, make), curves())
    assert found == fed(make(), curves())
    assert min(found) < 9 == max(found)


def test_groups_are_not_compared_with_each_other(monkeypatch) -> None:
    """Each study has a scheduler of its own: candidates of two cells are no rivals."""
    one = pruning(monkeypatch, halving)
    other = optuna.create_study(pruner=one.pruner, direction="maximize", study_name="other")
    pruned(one, [[1.0] * 9] * 6)
    assert pruned(other, [[0.1] * 9] * 3) == [9, 9, 9]
    assert pruned(one, [[0.1] * 9] * 3) == [2, 2, 2]


def test_a_trial_that_failed_is_told_as_failed(monkeypatch) -> None:
    heard: list[str] = []

    class Noting(FIFOScheduler):
        def on_trial_error(self, tune_controller, trial) -> None:
            heard.append(trial.trial_id)

    study = pruning(monkeypatch, Noting)
    for _ in range(2):
        trial = study.ask()
        trial.report(0.1, 1)
        assert not trial.should_prune()
        study.tell(trial, state=TrialState.FAIL)
    assert heard == ["00000"]


def perturbing() -> TrialScheduler:
    return PopulationBasedTraining(hyperparam_mutations={"train.lr": [0.1, 0.2]})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (HyperBandScheduler, "HyperBandScheduler pauses trials"),
        (perturbing, "PopulationBasedTraining changes a trial's parameters while it runs"),
        (MedianStoppingRule, "MedianStoppingRule reads time_total_s; set time_attr='training_it"),
        (
            lambda: AsyncHyperBandScheduler(metric="loss", mode="min"),
            "AsyncHyperBandScheduler has metric 'loss'; the objective is 'minority_accuracy'",
        ),
        (lambda: "asha", "str is no ray.tune.schedulers.trial_scheduler.TrialScheduler"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_scheduler_that_cannot_work_here_is_refused_by_name(monkeypatch, make, reason) -> None:
    """Before anything is created: it would pause, change or never stop a trial."""
    with pytest.raises(InputError) as caught:
        pruning(monkeypatch, make)
    assert str(caught.value).startswith(f"sweeper.tunes.SCHEDULER: {reason}")


def test_a_scheduler_that_pauses_all_the_same_ends_the_launch(monkeypatch) -> None:
    """A rule that may pause or stop shows which only when it does."""

    def soft() -> TrialScheduler:
        return MedianStoppingRule(
            time_attr=ROUND, grace_period=2, min_samples_required=2, hard_stop=False
        )

    with pytest.raises(EngineError, match="MedianStoppingRule answered PAUSE, and no run is pau"):
        pruned(pruning(monkeypatch, soft), curves())


@pytest.mark.parametrize(
    ("searcher", "reason"),
    [
        (ConcurrencyLimiter(Listed([]), max_concurrent=2), "ConcurrencyLimiter limits or repeats"),
        (OptunaSearch(metric="loss", mode="min"), "OptunaSearch has metric 'loss'; the objective"),
        (optuna.samplers.RandomSampler(), "RandomSampler is no ray.tune.search.searcher.Searcher"),
    ],
)
def test_a_searcher_that_cannot_work_here_is_refused_by_name(monkeypatch, searcher, reason) -> None:
    """Before anything is created, with what to do instead where there is something."""
    with pytest.raises(InputError) as caught:
        sampled(monkeypatch, searcher)
    assert str(caught.value).startswith(f"sweeper.tunes.SEARCHER: {reason}")


def stated(method: str, pruner: str) -> Spec:
    return spec.parse(TEXT.replace("method: tune", f"method: {method}") + f"pruner: {pruner}\n")


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            stated("tune", "none"),
            "7: search.method: 'tune': needs a file given by --plugin that "
            "sets sweeper.tunes.SEARCHER",
        ),
        (
            stated("tpe", "tune"),
            "8: pruner.method: 'tune': needs a file given by --plugin that "
            "sets sweeper.tunes.SCHEDULER",
        ),
    ],
)
def test_tune_without_a_plugin_is_one_line(found: Spec, line: str) -> None:
    """It names the key, the value and the fix."""
    with pytest.raises(InputError) as caught:
        search.check(found)
    [only] = caught.value.lines
    assert only.endswith(line)
