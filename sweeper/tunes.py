"""Searchers and schedulers of Ray Tune, used like an Optuna sampler and pruner.

Only their methods are called, in this process, never Tune's loop. Ray is imported where one of them
is made, so other importers of this file need no Ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from sweeper.errors import EngineError, InputError

# A plug-in file sets these to makers. A searcher's maker takes the space, the metric, "max" or
# "min", and a seed that differs between launches. A scheduler's maker takes the metric, and "max"
# or "min".
SEARCHER: Callable[[dict[str, Any], str, str, int], Any] | None = None
SCHEDULER: Callable[[str, str], Any] | None = None

ROUND = "training_iteration"  # Tune's name for a trial's progress
ASKS = 50  # tries in a row without an answer, after which a searcher has no more cells
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class SearchEnded(Exception):
    """The searcher has no more cells."""


def mode(direction: str) -> str:
    """Tune's word for a direction."""
    return {"maximize": "max", "minimize": "min"}[direction]


class TuneSampler(optuna.samplers.BaseSampler):
    """Asks a searcher of Tune for each trial's parameters.

    Before each question the searcher receives the results of ended trials from the study: of this
    sampler's trials by `on_trial_complete`, of earlier launches' trials by `add_evaluated_point`.

    Args:
        distributions: the search space of every trial.

    Attributes:
        say: receives a note once if the searcher accepts no trials of earlier launches.

    Raises:
        InputError: no searcher is made, or one that cannot be used here.
    """

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        *,
        metric: str,
        mode: str,
        seed: int,
    ) -> None:
        from ray.tune.search import ConcurrencyLimiter, Repeater, Searcher

        self._distributions, self._metric = dict(distributions), metric
        self.say: Callable[[str], None] = lambda text: None
        space = {name: _domain(distribution) for name, distribution in distributions.items()}
        self._searcher = _made("SEARCHER", SEARCHER, Searcher, space, metric, mode, seed)
        if isinstance(self._searcher, ConcurrencyLimiter | Repeater):
            instead = "resources.workers and replicates do that here; give the searcher inside"
            raise _unusable("SEARCHER", self._searcher, f"limits or repeats trials; {instead}")
        _check_metric("SEARCHER", self._searcher, metric)
        self._searcher.set_search_properties(metric, mode, space)
        self._asked: set[int] = set()
        self._heard: set[int] = set()
        self._learns = True

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        self._hear(study)
        found = self._suggested(trial.number)
        if found is None:
            study.tell(trial.number, state=TrialState.FAIL)
            raise SearchEnded
        self._asked.add(trial.number)
        return {name: self._fitted(name, found) for name in search_space}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise ValueError(f"{param_name} is not among what the searcher is asked over")

    def _suggested(self, number: int) -> dict[str, Any] | None:
        for _ in range(ASKS):
            found = self._searcher.suggest(_name(number))
            if found == self._searcher.FINISHED:
                return None
            if found is not None:
                return found
        return None

    def _fitted(self, name: str, found: Mapping[str, Any]) -> Any:
        if name in found:
            value = _fit(self._distributions[name], found[name])
            if value is not None:
                return value
        given = f"{name}: {found[name]!r}" if name in found else f"no {name}"
        searcher = type(self._searcher).__name__
        raise EngineError(f"{searcher} gave {given}; the spec has {self._distributions[name]}")

    def _hear(self, study: optuna.Study) -> None:
        """Gives the searcher the results of ended trials, each once."""
        before = []
        for trial in study.get_trials(deepcopy=False, states=ENDED):
            if trial.number in self._heard:
                continue
            self._heard.add(trial.number)
            if trial.number in self._asked:
                self._complete(trial)
            elif trial.state is not TrialState.FAIL:
                before.append(trial)
        self._replay(before)

    def _complete(self, trial: FrozenTrial) -> None:
        name, value = _name(trial.number), trial.value
        if trial.state is TrialState.FAIL or value is None:
            self._searcher.on_trial_complete(name, error=True)
            return
        for step, seen in sorted(trial.intermediate_values.items()):
            self._searcher.on_trial_result(name, {ROUND: step, self._metric: seen})
        last = {ROUND: trial.last_step or 1, self._metric: value, "done": True}
        self._searcher.on_trial_complete(name, result=last)

    def _replay(self, trials: Sequence[FrozenTrial]) -> None:
        for trial in trials if self._learns else ():
            if trial.value is None or set(trial.params) != set(self._distributions):
                continue
            try:
                self._searcher.add_evaluated_point(
                    dict(trial.params),
                    trial.value,
                    pruned=trial.state is TrialState.PRUNED,
                    intermediate_values=[v for _, v in sorted(trial.intermediate_values.items())],
                )
            except NotImplementedError:
                self._learns = False
                self.say(
                    f"{type(self._searcher).__name__} has no add_evaluated_point: it does not "
                    "learn from trials that earlier launches began"
                )
                return


class TunePruner(optuna.pruners.BasePruner):
    """Asks a scheduler of Tune whether a trial stops; each study has its own scheduler.

    The scheduler first receives the trials that have ended.

    Raises:
        InputError: no scheduler is made, or one that cannot be used here.
    """

    def __init__(self, *, metric: str, mode: str) -> None:
        self._metric, self._mode = metric, mode
        self._groups: dict[str, _ComparedTrials] = {}
        _check_keys(self._scheduler(), metric)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if study.study_name not in self._groups:
            self._groups[study.study_name] = _ComparedTrials(self._scheduler(), self._metric)
        group = self._groups[study.study_name]
        group.hear(study.get_trials(deepcopy=False, states=ENDED))
        return group.stops(trial)

    def _scheduler(self) -> Any:
        from ray.tune import schedulers

        made = _made("SCHEDULER", SCHEDULER, schedulers.TrialScheduler, self._metric, self._mode)
        refused = {
            schedulers.HyperBandScheduler: "pauses trials, and no run is paused here; "
            "AsyncHyperBandScheduler stops them",
            schedulers.PopulationBasedTraining: "changes a trial's parameters while it runs, and "
            "a cell is one configuration",
            schedulers.PopulationBasedTrainingReplay: "changes a trial's parameters while it "
            "runs, and a cell is one configuration",
            schedulers.ResourceChangingScheduler: "changes a trial's resources; see resources",
        }
        for kind, reason in refused.items():
            if isinstance(made, kind):
                raise _unusable("SCHEDULER", made, reason)
        _check_metric("SCHEDULER", made, self._metric)
        made.set_search_properties(self._metric, self._mode)
        return made


@dataclass(eq=False, kw_only=True)
class _Trial:
    """A trial as schedulers read it."""

    trial_id: str
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    status: str = "RUNNING"
    last_result: dict[str, Any] = field(default_factory=dict[str, Any])


class _Controller:
    """Tune's controller as schedulers read it: no trial waits for another's place."""

    def get_live_trials(self) -> list[_Trial]:
        return []


class _ComparedTrials:
    """Trials that a scheduler compares."""

    def __init__(self, scheduler: Any, metric: str) -> None:
        self._scheduler, self._metric, self._controller = scheduler, metric, _Controller()
        self._running: dict[int, _Trial] = {}
        self._stopped: set[int] = set()  # a scheduler is never asked again about one of these

    def hear(self, ended: Sequence[FrozenTrial]) -> None:
        for trial in ended:
            mine = self._running.pop(trial.number, None)
            if mine is None:
                continue
            if trial.state is TrialState.FAIL:
                self._scheduler.on_trial_error(self._controller, mine)
            else:
                self._scheduler.on_trial_complete(self._controller, mine, mine.last_result)

    def stops(self, trial: FrozenTrial) -> bool:
        if trial.number in self._stopped or trial.last_step is None:
            return trial.number in self._stopped
        mine = self._running.get(trial.number)
        if mine is None:
            mine = self._running[trial.number] = _Trial(trial_id=_name(trial.number))
            self._scheduler.on_trial_add(self._controller, mine)
        value = trial.intermediate_values[trial.last_step]
        mine.last_result = {ROUND: trial.last_step, self._metric: value}
        answer = self._scheduler.on_trial_result(self._controller, mine, mine.last_result)
        if answer not in (self._scheduler.CONTINUE, self._scheduler.STOP):
            name = type(self._scheduler).__name__
            raise EngineError(
                f"{name} answered {answer}, and no run is paused here: it must continue or stop"
            )
        if answer == self._scheduler.STOP:
            self._stopped.add(trial.number)
        return trial.number in self._stopped


def _made(where: str, maker: Callable[..., Any] | None, kind: type, *arguments: Any) -> Any:
    """The result of the plug-in's maker."""
    if maker is None:
        raise InputError(f"no --plugin file sets sweeper.tunes.{where}")
    try:
        made = maker(*arguments)
    except Exception as error:
        raise InputError(f"sweeper.tunes.{where}: {type(error).__name__}: {error}") from error
    if not isinstance(made, kind):
        raise _unusable(where, made, f"is no {kind.__module__}.{kind.__qualname__}")
    return made


def _unusable(where: str, made: Any, reason: str) -> InputError:
    return InputError(f"sweeper.tunes.{where}: {type(made).__name__} {reason}")


def _check_metric(where: str, made: Any, metric: str) -> None:
    if made.metric not in (None, metric):
        raise _unusable(where, made, f"has metric {made.metric!r}; the objective is {metric!r}")


class _Read(dict[str, Any]):
    """A result that notes which missing keys were read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.lacks: set[str] = set()

    def __contains__(self, key: object) -> bool:
        if not super().__contains__(key):
            self.lacks.add(str(key))
            return False
        return True


def _check_keys(scheduler: Any, metric: str) -> None:
    """Rejects a scheduler that counts in seconds, because it would silently skip every decision."""
    trial, result = _Trial(trial_id="0"), _Read({ROUND: 1, metric: 0.0})
    scheduler.on_trial_add(_Controller(), trial)
    scheduler.on_trial_result(_Controller(), trial, result)
    if result.lacks:
        keys = ", ".join(sorted(result.lacks))
        raise _unusable("SCHEDULER", scheduler, f"reads {keys}; set time_attr={ROUND!r}")


def _name(number: int) -> str:
    return f"{number:05d}"


def _domain(distribution: BaseDistribution) -> Any:
    """The same set of values for Tune, whose integer ranges exclude their end.

    A step is applied afterwards: Tune counts steps from zero, not from the lowest value.
    """
    from ray import tune

    match distribution:
        case CategoricalDistribution(choices=choices):
            return tune.choice(list(choices))
        case IntDistribution(low=low, high=high, log=log):
            return (tune.lograndint if log else tune.randint)(low, high + 1)
        case FloatDistribution(low=low, high=high, log=log):
            return (tune.loguniform if log else tune.uniform)(low, high)
        case _:
            raise ValueError(f"{distribution} has no counterpart in Tune")


def _fit(distribution: BaseDistribution, value: Any) -> Any:
    """The distribution's own value nearest to this one; None for a value outside of it."""
    if isinstance(distribution, CategoricalDistribution):
        return next((choice for choice in distribution.choices if choice == value), None)
    assert isinstance(distribution, IntDistribution | FloatDistribution)  # noqa: S101
    if not isinstance(value, Real):
        return None
    value = float(value)
    low, high, step = distribution.low, distribution.high, distribution.step
    near = math.isclose(value, low) or math.isclose(value, high)
    if not (near or low <= value <= high):
        return None
    value = min(max(value, low), high)
    if step is not None:
        value = low + round((value - low) / step) * step
    return int(value) if isinstance(distribution, IntDistribution) else float(f"{value:.12g}")
