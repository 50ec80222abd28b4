"""The set of best levels (statistics 2.5): all that no other level beats.

The level that is truly best is in the set with at least 95 %, whatever the variances. The mean of
the level that looks best flatters itself, so none is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeper.analysis.comparisons import Pairs, level_of, method, needed, pairs, start_of
from sweeper.analysis.effects import as_written
from sweeper.analysis.factors import Factor
from sweeper.analysis.intervals import FIRM, LEAST
from sweeper.analysis.measures import Measure
from sweeper.analysis.stopping import PLAIN, Rule
from sweeper.analysis.view import SweepView
from sweeper.topics.fairness.estimate import withheld

CIRCLE = "each level is beaten by another over the replicates that they share, so all stay"


@dataclass(frozen=True)
class Against:
    """How far level `ahead` is ahead of `behind`, within the replicates that have both.

    Attributes:
        lead: the mean difference, positive, in the measure's unit.
        p: one-sided, times the family of a - 1 comparisons.
        needed: about how many replicates would separate the two; None where they are separated
            already, or where nothing can be said.
    """

    ahead: Any
    behind: Any
    lead: float
    sd: float
    n: int
    p: float
    needed: int | None


@dataclass(frozen=True)
class BestSet:
    """The levels of one factor that may be the best, and what beat the others.

    Attributes:
        held, at: another factor held at a level; None: the mean over all others.
        beaten: level -> the comparison that beats it most clearly.
        ties: the pairs of kept levels, which are not separated.
        n: replicates of the comparison that has fewest.
        family: comparisons that each level is held against.
    """

    factor: Factor
    measure: Measure
    held: Factor | None
    at: Any
    kept: tuple[Any, ...]
    beaten: dict[Any, Against]
    ties: tuple[Against, ...]
    n: int
    family: int
    method: str
    note: str = ""
    withheld: str = ""  # why it is not settled, as verdicts are not

    @property
    def suggestive(self) -> bool:
        """Too few replicates to be firm."""
        return LEAST <= self.n < FIRM


def best_set(
    y: pd.DataFrame,
    *,
    factor: Factor,
    measure: Measure,
    held: Factor | None = None,
    at: Any = None,
    rule: Rule = PLAIN,
) -> BestSet:
    """The set of best levels of y[level, r], where replicates were planned by `rule`."""
    start, level = start_of(rule), level_of(rule)
    found = pairs(y.to_numpy(dtype=float), direction=measure.direction, start=start)
    levels, beats = list(y.index), found.beats(level=level)
    top = np.asarray(~beats.any(axis=1))
    circle = not top.any()  # possible only where replicates are missing
    top |= circle
    beaten = {
        one: _against(found, levels, j=j, k=int(np.nanargmin(np.where(beats[j], found.p[j], 2))))
        for j, one in enumerate(levels)
        if not top[j]
    }
    others = ~np.eye(len(levels), dtype=bool)
    n = int(found.n[others].min())
    return BestSet(
        factor,
        measure,
        held,
        at,
        tuple(one for one, stays in zip(levels, top, strict=True) if stays),
        beaten,
        tuple(_ties(found, levels, top=top, beats=beats)),
        n,
        len(levels) - 1,
        method(n, most=int(found.n[others].max()), family=len(levels) - 1, rule=rule),
        CIRCLE if circle else _note(found, others=others, n=n),
    )


def _ties(
    found: Pairs, levels: list[Any], *, top: NDArray[np.bool_], beats: NDArray[np.bool_]
) -> Iterator[Against]:
    """The pairs of kept levels that are not separated, the one that is ahead first."""
    stay = np.flatnonzero(top)
    for place, one in enumerate(stay):
        for two in stay[place + 1 :]:
            j, k = (one, two) if found.mean[one, two] >= 0 else (two, one)
            if not beats[j, k]:
                near, told = _against(found, levels, j=int(j), k=int(k)), int(found.told[j, k])
                yield replace(near, needed=needed(near.lead, sd=near.sd, n=near.n, told=told))


def _against(found: Pairs, levels: list[Any], *, j: int, k: int) -> Against:
    family = len(levels) - 1
    n, mean, sd = int(found.n[j, k]), float(found.mean[j, k]), float(found.sd[j, k])
    return Against(
        ahead=levels[k],
        behind=levels[j],
        lead=mean,
        sd=sd,
        n=n,
        p=float(np.minimum(found.p[j, k] * family, 1.0)),
        needed=None,
    )


def _note(found: Pairs, *, others: NDArray[np.bool_], n: int) -> str:
    if n < LEAST:
        return f"n = {n}: too few replicates to tell any pair apart" if n else "no whole replicate"
    if bool((found.sd[others] == 0).any()):
        return "some levels differ by the same in all replicates, which gives no test"
    return ""


def build(view: SweepView) -> tuple[BestSet, ...]:
    """Each factor on the objective over all others; the axis also at each level of the second.

    As the replicates were planned: looks have their share of the error, two stages the spread of
    the first.
    """
    if not view.grid:
        return ()
    objective, rule = view.objective, view.rule
    found = [
        best_set(view.levels(objective, factor=one), factor=one, measure=objective, rule=rule)
        for one in view.factors
    ]
    if view.x is not None and view.by is not None:
        found += [
            best_set(
                view.levels(objective, factor=view.x, at=at),
                factor=view.x,
                measure=objective,
                held=view.by,
                at=line,
                rule=rule,
            )
            for line, at in view.lines()
        ]
    return tuple(replace(one, withheld=withheld(view, held=one.held, at=one.at)) for one in found)


def rows(found: Sequence[BestSet]) -> pd.DataFrame:
    """Every level of every set as a row: kept or beaten, by whom, and every tie as one more."""
    listed: list[dict[str, Any]] = []
    for one in found:
        key = {
            "factor": one.factor.path,
            "measure": one.measure.name,
            "unit": one.measure.unit,
            "held": one.held.path if one.held else None,
            "at": one.at,
        }
        facts = {
            "family": one.family,
            "method": one.method,
            "note": one.note,
            "withheld": one.withheld,
        }
        nothing = Against(None, None, math.nan, math.nan, one.n, math.nan, None)
        for level in one.factor.levels:
            against = one.beaten.get(level, nothing)
            kind = "beaten" if level in one.beaten else "kept"
            listed.append({**key, "kind": kind, "level": level, **_row(against), **facts})
        for tie in one.ties:
            listed.append({**key, "kind": "tie", "level": tie.behind, **_row(tie), **facts})
    return as_written(pd.DataFrame(listed), rows=listed, columns=["at", "level", "by"])


def _row(one: Against) -> dict[str, Any]:
    return {
        "by": one.ahead,
        "lead": one.lead,
        "sd": one.sd,
        "n": one.n,
        "p": one.p,
        "needed": one.needed,
    }
