"""Which level to take: the table of all pairs of each choice, at the condition in question.

All verdicts on levels come from here (statistics 5): which levels may be best, what each other
level costs, the shape, and each pair. The mean of the level that looks best flatters itself, so
none is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis.effects import as_written
from sweeper.analysis.factors import Factor
from sweeper.analysis.intervals import Estimate, as_row
from sweeper.analysis.measures import Measure
from sweeper.analysis.pairs import (
    Need,
    Pairs,
    ResponseShape,
    Standing,
    needed,
    shape_of,
    standings,
    undecided,
)
from sweeper.analysis.verdicts import Price, Verdict
from sweeper.analysis.view import SweepView
from sweeper.topics.fairness.estimate import judged, withheld
from sweeper.topics.goals import estimate as goals


@dataclass(frozen=True)
class Level:
    """One level: what it costs against the best, and what would settle it.

    Attributes:
        cost: mean change against the level with the best mean, from `-most` to `-least` of the
            standing, in the measure's own sign; no interval where the table has none.
        open: whether it may be best without being shown about equal to the best.
        need, price: the replicates that would about settle it, and their price; None where it is
            settled or nothing can be said.
    """

    standing: Standing
    cost: Estimate
    open: bool
    need: Need | None
    price: Price | None

    @property
    def value(self) -> Any:
        return self.standing.level

    @property
    def beaten(self) -> bool:
        return self.standing.beaten


@dataclass(frozen=True)
class Elsewhere:
    """The same levels at another level of the condition: a description, and no verdict.

    Attributes:
        spread: the largest difference between two means.
        most: the largest difference that the joint intervals allow; inf where there is none.
    """

    factor: Factor
    at: Any
    spread: float
    most: float
    n: int


@dataclass(frozen=True)
class BrokenLevel:
    """A level that breaks constraints by its mean, such as `majority_accuracy >= 0.9`."""

    value: Any
    constraints: tuple[str, ...]


@dataclass(frozen=True)
class LevelComparison:
    """The levels of one choice against each other; levels that break a constraint are left out.

    Where all levels break a constraint, all are compared, nothing is settled and none is taken.

    Attributes:
        split: where the constraints are read.
        condition: where the levels are compared, in words; empty without a condition.
        shape: of an ordered factor; None for words.
        margin: the difference that does not matter; None where the measure has none.
        verdicts: (level, other level) -> the verdict on the first, for every pair.
    """

    factor: Factor
    measure: Measure
    condition: str
    pairs: Pairs
    levels: tuple[Level, ...]
    shape: ResponseShape | None
    margin: float | None
    verdicts: dict[tuple[Any, Any], Verdict]
    elsewhere: tuple[Elsewhere, ...] = ()
    withheld: str = ""  # why nothing is settled
    broken: tuple[BrokenLevel, ...] = ()
    split: str = ""

    @property
    def best(self) -> tuple[Level, ...]:
        """The levels that may be best; never empty."""
        return tuple(one for one in self.levels if not one.beaten)

    @property
    def beaten(self) -> tuple[Level, ...]:
        return tuple(one for one in self.levels if one.beaten)

    @property
    def open(self) -> tuple[Level, ...]:
        return tuple(one for one in self.levels if one.open)

    @property
    def n(self) -> int:
        return self.pairs.n

    @property
    def unmet(self) -> bool:
        """Whether no level satisfies the constraints."""
        return len(self.broken) == len(self.factor.levels)


def build(view: SweepView) -> tuple[LevelComparison, ...]:
    """A comparison for each choice, the question first; none where cells are no grid."""
    if not view.grid:
        return ()
    listed = sorted(view.choices, key=lambda one: one is not view.question)
    return tuple(_within_bounds(view, one) for one in listed)


def question(view: SweepView) -> LevelComparison | None:
    """The comparison that answers the sweep's question."""
    return next((one for one in view.of(build) if one.factor is view.question), None)


def _within_bounds(view: SweepView, factor: Factor) -> LevelComparison:
    """The comparison of the levels that satisfy the constraints."""
    breaks = goals.broken(view, factor)
    allowed = [not one for one in breaks]
    if all(allowed):
        return compare(view, factor, view.pairs(factor))
    y = view.levels(view.objective, factor=factor)
    found = compare(view, factor, view.pairs(factor, y=y[allowed] if any(allowed) else y))
    broken = tuple(
        BrokenLevel(level, tuple(one.text for one in texts))
        for level, texts in zip(factor.levels, breaks, strict=True)
        if texts
    )
    why = found.withheld if any(allowed) else f"no {factor.name} satisfies the constraints"
    return replace(found, broken=broken, split=view.frames.split, withheld=why)


def compare(view: SweepView, factor: Factor, found: Pairs) -> LevelComparison:
    """All that a table of pairs says of a factor's levels."""
    margin = view.margin
    unsettled = undecided(found, margin=margin)
    levels = tuple(
        _level(view, found, one, unsettled=one.level in unsettled) for one in standings(found)
    )
    ordered = factor.scale != "category"
    return LevelComparison(
        factor,
        view.objective,
        view.condition,
        found,
        levels,
        shape_of(found, margin=margin) if ordered else None,
        margin,
        _verdicts(view, found),
        tuple(_elsewhere(view, factor)),
        withheld(view),
    )


def _level(view: SweepView, found: Pairs, one: Standing, *, unsettled: bool) -> Level:
    lead = found.levels[int(np.argmax(found.mean[:, found.levels.index(one.level)]))]
    need = needed(found, one.level, margin=view.margin) if unsettled else None
    price = None
    if need is not None:
        behind = found.estimate(one.level, lead)
        price = view.costs.settling(behind, needed=need.replicates)
    return Level(one, _cost(found, one, lead), unsettled, need, price)


def _cost(found: Pairs, one: Standing, lead: Any) -> Estimate:
    """The change against the best, in the measure's own sign."""
    against = found.estimate(one.level, lead)
    known = found.told >= 3 and math.isfinite(one.most)
    ends = sorted((0.0 - found.sign * one.most, 0.0 - found.sign * one.least))
    low, high = ends if known else (math.nan, math.nan)
    value, note = 0.0 - found.sign * one.mean, "" if known else found.note
    return Estimate(
        value,
        low,
        high,
        against.sd,
        found.n,
        math.nan,
        found.family,
        found.method,
        note,
        found.rule,
    )


def _verdicts(view: SweepView, found: Pairs) -> dict[tuple[Any, Any], Verdict]:
    pairs = [pair for two in combinations(found.levels, 2) for pair in (two, two[::-1])]
    plain = [view.verdict(found.estimate(*pair)) for pair in pairs]
    return dict(zip(pairs, judged(view, plain), strict=True))


def _elsewhere(view: SweepView, factor: Factor) -> Iterator[Elsewhere]:
    by = view.by
    if by is None or not by.is_condition or factor is not view.question:
        return
    for level in by.levels:
        if level == view.held[by.path]:
            continue
        y = view.levels(view.objective, factor=factor, at=(by, level))
        found = view.rule.pairs(y, direction=view.objective.direction)
        if found.n:
            others = ~np.eye(len(found.levels), dtype=bool)
            spread = float(found.mean[others].max())
            yield Elsewhere(by, level, spread, float(found.high[others].max()), found.n)


def rows(found: Sequence[LevelComparison]) -> pd.DataFrame:
    """A row a level (what it costs), and a row a pair (one minus the other)."""
    listed: list[dict[str, Any]] = []
    for one in found:
        key = {
            "factor": one.factor.path,
            "measure": one.measure.name,
            "unit": one.measure.unit,
            "condition": one.condition,
        }
        broken = {level.value: f"breaks {', '.join(level.constraints)}" for level in one.broken}
        listed += [
            {**key, "kind": "level", "level": level, "against": None, "verdict": text}
            for level, text in broken.items()
            if not one.unmet
        ]
        for level in one.levels:
            plain = "beaten" if level.beaten else "may be best"
            listed.append(
                {
                    **key,
                    "kind": "level",
                    "level": level.value,
                    "against": level.standing.by,
                    **as_row(level.cost),
                    "verdict": broken.get(level.value, plain),
                    "needed": level.need.replicates if level.need else None,
                    "withheld": one.withheld,
                }
            )
        for level, other in combinations(one.pairs.levels, 2):
            verdict = one.verdicts[level, other]
            listed.append(
                {
                    **key,
                    "kind": "pair",
                    "level": level,
                    "against": other,
                    **as_row(one.pairs.estimate(level, other)),
                    "verdict": verdict.badge,
                    "needed": verdict.needed,
                    "withheld": one.withheld,
                }
            )
    return as_written(pd.DataFrame(listed), rows=listed, columns=["level", "against"])
