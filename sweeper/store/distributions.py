"""The distributions that Optuna gets for factors, chosen so that its plots are useful.

A factor whose levels are all numbers becomes an Int- or FloatDistribution over its span, on a
logarithmic scale if the span is wider than tenfold, so that slice, contour and parallel-coordinate
plots have a true axis. Any other factor becomes categorical, in the order of the spec. Optuna
requires equal distributions over a whole study, so a factor has one distribution for all cells,
including levels of older specs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

WIDE = 10.0  # from this high / low on, a scale is logarithmic


def of_cells(
    spec: Mapping[str, Any], factors: Sequence[Mapping[str, Any]]
) -> dict[str, BaseDistribution]:
    """A distribution for each factor, from the spec's blocks and the levels of the cells."""
    stated = {**spec.get("scientific", {}), **spec.get("nuisance", {})}
    names = dict.fromkeys(name for cell in factors for name in cell)
    return {
        name: of_levels(
            [*_levels(stated.get(name)), *(c[name] for c in factors if name in c)],
            log=_log(stated.get(name)),
        )
        for name in names
    }


def of_levels(levels: Iterable[Any], *, log: bool | None = None) -> BaseDistribution:
    """The distribution over some levels; with `log` None the span decides."""
    choices = list({json.dumps(level, sort_keys=True): level for level in levels}.values())
    if not all(_is_number(level) for level in choices):
        return CategoricalDistribution([choice(level) for level in choices])
    low, high = min(choices), max(choices)
    logarithmic = low > 0 and bool(high > WIDE * low if log is None else log)
    if all(isinstance(level, int) for level in choices):
        return IntDistribution(low, high, log=logarithmic)
    return FloatDistribution(float(low), float(high), log=logarithmic)


def choice(level: Any) -> Any:
    """Converts `level` to a categorical choice: lists and blocks become JSON."""
    return level if level is None or isinstance(level, bool | int | float | str) else _json(level)


def value_of(level: Any, distribution: BaseDistribution) -> float:
    """The number that Optuna stores for a level."""
    plain = choice(level) if isinstance(distribution, CategoricalDistribution) else level
    return float(distribution.to_internal_repr(plain))


def contains(distribution: BaseDistribution, level: Any) -> bool:
    """Returns whether the level belongs to the distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return any(
            choice(level) == c and type(choice(level)) is type(c) for c in distribution.choices
        )
    if not isinstance(distribution, FloatDistribution | IntDistribution) or not _is_number(level):
        return False
    return distribution.low <= level <= distribution.high


def to_json(distributions: Mapping[str, BaseDistribution]) -> dict[str, str]:
    """Each distribution in Optuna's JSON."""
    return {name: distribution_to_json(one) for name, one in distributions.items()}


def _levels(stated: Any) -> list[Any]:
    if isinstance(stated, list | tuple):
        return list(stated)
    if not isinstance(stated, Mapping):
        return []
    if "low" in stated:
        return [stated["low"], stated["high"]]
    return list(stated.get("levels") or [])


def _log(stated: Any) -> bool | None:
    return bool(stated.get("log")) if isinstance(stated, Mapping) and "low" in stated else None


def _is_number(level: Any) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _json(level: Any) -> str:
    return json.dumps(level, sort_keys=True)
