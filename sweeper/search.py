"""Optuna's samplers and pruners by explicit name, every argument that matters spelled out.

Optuna's defaults have changed between versions; a sweep that is launched again must not.
Documentation: optuna.readthedocs.io, reference/samplers and reference/pruners, version 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from sweeper.spec import Level, Levels, Range, Spec
from sweeper.spec.factors import grid


def distributions(spec: Spec) -> dict[str, BaseDistribution]:
    """What an adaptive sampler is asked over: one distribution a scientific factor.

    Levels are categories; a range stays a range. A conditional factor is asked for always, and
    `design.design` leaves it out where its condition does not hold.
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
    # Optuna warns when a range does not end on a step.
    if factor.step is None:
        return factor.high
    steps = int((factor.high - factor.low) / factor.step + 1e-9)
    last = factor.low + steps * factor.step
    return last if isinstance(last, int) else float(f"{last:.12g}")


def sampler(spec: Spec) -> BaseSampler:
    """The sampler of `search.method`."""
    return SAMPLERS[spec.search.method](spec)


def pruner(spec: Spec) -> BasePruner:
    """The pruner of `pruner.method`."""
    return PRUNERS[spec.pruner.method](spec)


def _startup(spec: Spec) -> int:
    """Random cells before the sampler models anything: ten, fewer in a short search."""
    return min(10, max(4, (spec.search.trials or 0) // 4))


def _tpe(spec: Spec) -> BaseSampler:
    # `group` is experimental and not needed: every trial is asked for every factor.
    return TPESampler(
        n_startup_trials=_startup(spec),
        n_ei_candidates=24,
        multivariate=True,
        group=False,
        constant_liar=True,  # several cells are always in flight
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


def _planned(spec: Spec) -> BaseSampler:
    """For a study whose cells come from `design`: it is never asked."""
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


SAMPLERS: Mapping[str, Callable[[Spec], BaseSampler]] = {
    "factorial": _planned,
    "random": _planned,
    "qmc": _planned,
    "tpe": _tpe,
    "gp": _gp,
}

PRUNERS: Mapping[str, Callable[[Spec], BasePruner]] = {
    "none": lambda spec: NopPruner(),
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
}
