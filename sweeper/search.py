"""Optuna's samplers and pruners, by name and with every important argument stated.

Optuna's defaults have changed between versions; a sweep that is launched again must not change.
Documentation: optuna.readthedocs.io, reference/samplers and reference/pruners, version 5.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial

from sweeper import tunes
from sweeper.spec import Level, Levels, Range, Spec
from sweeper.spec.factors import grid

TUNE = "tune"  # a searcher or a scheduler of Ray Tune, which a plug-in file sets


def distributions(spec: Spec) -> dict[str, BaseDistribution]:
    """The search space of an adaptive sampler: a distribution for each scientific factor.

    Levels are categories; a range stays a range. A conditional factor is always suggested, and
    `design.design` leaves it out if its condition is false.
    """
    return {name: _distribution(factor) for name, factor in spec.scientific.items()}


def _distribution(factor: tuple[Level, ...] | Levels | Range) -> BaseDistribution:
    if not isinstance(factor, Range) or factor.levels is not None:
        return CategoricalDistribution(grid(factor) or ())
    low, high, step = factor.low, _last(factor), factor.step
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=factor.log, step=int(step or 1))
    return FloatDistribution(low, high, log=factor.log, step=step)


def _last(factor: Range) -> int | float:
    # Optuna warns if a range does not end on a step.
    if factor.step is None:
        return factor.high
    steps = int((factor.high - factor.low) / factor.step + 1e-9)
    last = factor.low + steps * factor.step
    return last if isinstance(last, int) else float(f"{last:.12g}")


def sampler(spec: Spec, *, say: Callable[[str], None] = lambda text: None) -> BaseSampler:
    """The sampler of `search.method`; `say` receives notes for the user.

    Raises:
        InputError: it is `tune`, and no plug-in file has set a searcher that can be used.
    """
    found = SAMPLERS[spec.search.method](spec)
    if isinstance(found, tunes.TuneSampler):
        found.say = say
    return found


def pruner(spec: Spec) -> BasePruner:
    """The pruner of `pruner.method`.

    Raises:
        InputError: it is `tune`, and no plug-in file has set a scheduler that can be used.
    """
    return PRUNERS[spec.pruner.method](spec)


def check(spec: Spec) -> None:
    """Checks that a plug-in file has set what `tune` needs, before anything is created.

    Raises:
        InputError: it has not, or what it sets cannot be used.
    """
    if spec.search.method == TUNE:
        sampler(spec)
    if spec.pruner.method == TUNE:
        pruner(spec)


def _startup(spec: Spec) -> int:
    """Random cells before the sampler models anything: ten, fewer in a short search."""
    return min(10, max(4, (spec.search.trials or 0) // 4))


def _tpe(spec: Spec) -> BaseSampler:
    # `group` is experimental and not needed: every trial gets every factor.
    return TPESampler(
        n_startup_trials=_startup(spec),
        n_ei_candidates=24,
        multivariate=True,
        group=False,
        constant_liar=True,  # several cells always run at the same time
        seed=spec.search.seed,
    )


def _gp(spec: Spec) -> BaseSampler:
    return GPSampler(
        n_startup_trials=_startup(spec),
        deterministic_objective=False,
        independent_sampler=RandomSampler(seed=spec.search.seed),
        warn_independent_sampling=False,
        seed=spec.search.seed,
    )


class CmaEs(CmaEsSampler):
    """CMA-ES whose state stays in this process.

    Optuna's own writes its state to the database as a pickle, and loads it from there: whoever can
    write to the database could run code here. The state follows from the finished trials, so a
    later launch makes it again.
    """

    _optimizer: Any = None

    def _init_optimizer(self, trans: Any, direction: Any) -> Any:
        self._optimizer = super()._init_optimizer(trans, direction)
        return self._optimizer

    def _restore_optimizer(self, completed_trials: Sequence[FrozenTrial]) -> Any:
        return self._optimizer

    def _split_optimizer_str(self, optimizer_str: str) -> dict[str, str]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Passes every generation that has ended, and draws from the next one."""
        while True:
            before = self._generation
            found = super().sample_relative(study, trial, search_space)
            if self._generation == before:
                return found

    @property
    def _generation(self) -> int:
        return 0 if self._optimizer is None else self._optimizer.generation


def _cma_es(spec: Spec) -> BaseSampler:
    return CmaEs(
        n_startup_trials=1,
        independent_sampler=RandomSampler(seed=spec.search.seed),
        warn_independent_sampling=False,
        popsize=None,  # by the number of factors
        seed=spec.search.seed,
    )


def _population(spec: Spec) -> int:
    """The cells of a generation: fifty, fewer in a short search, which needs four generations."""
    return min(50, max(4, (spec.search.trials or 0) // 4))


def _nsga2(spec: Spec) -> BaseSampler:
    return NSGAIISampler(
        population_size=_population(spec),
        mutation_prob=None,  # one in the number of factors
        crossover_prob=0.9,
        swapping_prob=0.5,
        seed=spec.search.seed,
    )


def _nsga3(spec: Spec) -> BaseSampler:
    with _experimental():
        return NSGAIIISampler(
            population_size=_population(spec),
            mutation_prob=None,
            crossover_prob=0.9,
            swapping_prob=0.5,
            dividing_parameter=3,
            seed=spec.search.seed,
        )


@contextmanager
def _experimental() -> Iterator[None]:
    """Allows a class whose interface may change: Optuna's version is bounded, and tests use it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _searcher(spec: Spec) -> BaseSampler:
    if tunes.SEARCHER is None:
        reason = "needs a file given by --plugin that sets sweeper.tunes.SEARCHER"
        raise spec.problem("search.method", TUNE, reason)
    return tunes.TuneSampler(
        distributions(spec),
        metric=spec.objective.metric,
        mode=tunes.mode(spec.objective.direction),
        seed=spec.search.seed,
    )


def _scheduler(spec: Spec) -> BasePruner:
    if tunes.SCHEDULER is None:
        reason = "needs a file given by --plugin that sets sweeper.tunes.SCHEDULER"
        raise spec.problem("pruner.method", TUNE, reason)
    return tunes.TunePruner(metric=spec.objective.metric, mode=tunes.mode(spec.objective.direction))


def _planned(spec: Spec) -> BaseSampler:
    """The sampler of a study whose cells come from `design`; it is never asked."""
    return RandomSampler(seed=spec.search.seed)


def _asha(spec: Spec) -> BasePruner:
    return SuccessiveHalvingPruner(
        min_resource=spec.pruner.min_evaluations,
        reduction_factor=spec.pruner.reduction,
        min_early_stopping_rate=0,
        bootstrap_count=0,
    )


def _hyperband(spec: Spec) -> BasePruner:
    return HyperbandPruner(
        min_resource=spec.pruner.min_evaluations,
        max_resource=spec.config_for({}).evaluations,
        reduction_factor=spec.pruner.reduction,
        bootstrap_count=0,
    )


def _median(spec: Spec) -> BasePruner:
    return MedianPruner(
        n_startup_trials=spec.pruner.startup,
        n_warmup_steps=spec.pruner.min_evaluations,
        interval_steps=1,
        n_min_trials=1,
    )


def _wilcoxon(spec: Spec) -> BasePruner:
    with _experimental():
        return WilcoxonPruner(p_threshold=spec.pruner.p, n_startup_steps=2)


SAMPLERS: Mapping[str, Callable[[Spec], BaseSampler]] = {
    "factorial": _planned,
    "random": _planned,
    "qmc": _planned,
    "tpe": _tpe,
    "gp": _gp,
    "cma_es": _cma_es,
    "nsga2": _nsga2,
    "nsga3": _nsga3,
    TUNE: _searcher,
}

PRUNERS: Mapping[str, Callable[[Spec], BasePruner]] = {
    "none": lambda spec: NopPruner(),
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
    "wilcoxon": _wilcoxon,
    TUNE: _scheduler,
}
