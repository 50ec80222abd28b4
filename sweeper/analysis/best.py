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
from scipy import stats

from sweeper.analysis.effects import as_written
from sweeper.analysis.factors import Factor
from sweeper.analysis.intervals import FIRM, LEAST, LEVEL, rounding
from sweeper.analysis.look import Look
from sweeper.analysis.measures import Measure
from sweeper.analysis.precision import PLAIN, Rule, TwoStages

POWER = 0.84  # the normal quantile of 80 %, as the rule for N has it
MOST = 1e6  # more replicates than this are not named
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


@dataclass(frozen=True)
class Pairs:
    """Arrays (..., a, a): at [j, k], level k against level j, within replicates that have both."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    n: NDArray[np.int64]
    told: NDArray[np.int64]  # of these, the replicates that tell the sd
    p: NDArray[np.float64]  # one-sided, that k is the better; NaN without an interval

    def beats(self, *, level: float = LEVEL) -> NDArray[np.bool_]:
        """Whether k beats j: t above T(1 - .05 / (a - 1), R - 1)."""
        return self.p < (1 - level) / max(self.p.shape[-1] - 1, 1)


def pairs(
    y: NDArray[np.float64], *, direction: str = "maximize", start: int | None = None
) -> Pairs:
    """Every level against every other, each pair with its own variance; y (..., a, R).

    Fewer than three replicates, or differences without any variance, give no p. With `start` the
    number of replicates followed from the spread of the first ones: then those alone tell each
    pair's spread and its degrees of freedom (Stein 1945).
    """
    sign = 1.0 if direction == "maximize" else -1.0
    d = sign * (y[..., None, :, :] - y[..., :, None, :])
    seen = np.isfinite(d)
    n = seen.sum(axis=-1)
    d = np.where(seen, d, 0.0)
    mean = d.sum(axis=-1) / np.maximum(n, 1)
    sd, told = _spread(d, seen if start is None else seen & (seen.cumsum(axis=-1) <= start))
    sure = (told >= LEAST) & (sd > 0)
    t = mean * np.sqrt(n) / np.where(sure, sd, 1.0)
    p = np.where(sure, stats.t.sf(t, np.maximum(told - 1, 1)), np.nan)
    return Pairs(np.where(n > 0, mean, np.nan), np.where(told > 1, sd, np.nan), n, told, p)


def _spread(
    d: NDArray[np.float64], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The sd of what is seen of d (..., R), 0 where it is rounding, and how many that are."""
    n = seen.sum(axis=-1)
    mean = np.where(seen, d, 0.0).sum(axis=-1) / np.maximum(n, 1)
    squares = np.where(seen, (d - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    sd = np.sqrt(squares / np.maximum(n - 1, 1))
    return np.where(sd <= rounding(np.abs(d).max(axis=-1, initial=0.0)), 0.0, sd), n


def kept(
    y: NDArray[np.float64], *, direction: str = "maximize", rule: Rule = PLAIN
) -> NDArray[np.bool_]:
    """Which levels (..., a) no other level beats, where replicates were planned by `rule`."""
    found = pairs(y, direction=direction, start=start_of(rule))
    return np.asarray(~found.beats(level=level_of(rule)).any(axis=-1))


def start_of(rule: Rule) -> int | None:
    """How many first replicates tell the spread; None: all of them."""
    return rule.start if isinstance(rule, TwoStages) else None


def level_of(rule: Rule) -> float:
    """How sure a single look is: each has its share of the error."""
    return 1 - (1 - LEVEL) / rule.shares


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
        factor, measure, held, at,
        tuple(one for one, stays in zip(levels, top, strict=True) if stays),
        beaten, tuple(_ties(found, levels, top=top, beats=beats)), n, len(levels) - 1,
        method(n, most=int(found.n[others].max()), family=len(levels) - 1, rule=rule),
        CIRCLE if circle else _note(found, others=others, n=n),
    )  # fmt: skip


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
        ahead=levels[k], behind=levels[j], lead=mean, sd=sd, n=n,
        p=float(np.minimum(found.p[j, k] * family, 1.0)), needed=None,
    )  # fmt: skip


def needed(mean: float, *, sd: float, n: int, told: int | None = None) -> int | None:
    """About how many replicates would separate two levels: ((T(.975, n-1) + 0.84) sd / mean)^2.

    At least one more than there are; None where it cannot be told, or is past a million. `told`:
    how many replicates tell the spread, where those are not all.
    """
    told = n if told is None else told
    if told < LEAST or not sd > 0 or not mean:
        return None
    about = ((float(stats.t.ppf(0.975, told - 1)) + POWER) * sd / abs(mean)) ** 2
    return max(math.ceil(about), n + 1) if about < MOST else None


def method(n: int, *, most: int, family: int, rule: Rule, what: str = "level") -> str:
    """How a set was told, of `n` to `most` replicates."""
    span, start = f"{n}" if n == most else f"{n} to {most}", start_of(rule)
    spread = f", spread of the first {start} (Stein)" if start is not None else ""
    return (
        f"one-sided paired t at {100 * level_of(rule):.3g}% over {span} replicates{spread}, "
        f"each {what} against {family} others (Bonferroni)"
    )


def _note(found: Pairs, *, others: NDArray[np.bool_], n: int) -> str:
    if n < LEAST:
        return f"n = {n}: too few replicates to tell any pair apart" if n else "no whole replicate"
    if bool((found.sd[others] == 0).any()):
        return "some levels differ by the same in all replicates, which gives no test"
    return ""


def build(look: Look) -> tuple[BestSet, ...]:
    """Each factor on the objective over all others; the axis also at each level of the second.

    As the replicates were planned: looks have their share of the error, two stages the spread of
    the first.
    """
    objective, rule = look.objective, look.rule
    found = [
        best_set(look.levels(objective, factor=one), factor=one, measure=objective, rule=rule)
        for one in look.factors
    ]
    if look.x is not None and look.by is not None:
        found += [
            best_set(look.levels(objective, factor=look.x, at=at), factor=look.x,
                     measure=objective, held=look.by, at=line, rule=rule)
            for line, at in look.lines()
        ]  # fmt: skip
    return tuple(found)


def rows(found: Sequence[BestSet]) -> pd.DataFrame:
    """Every level of every set as a row: kept or beaten, by whom, and every tie as one more."""
    listed: list[dict[str, Any]] = []
    for one in found:
        key = {"factor": one.factor.path, "measure": one.measure.name, "unit": one.measure.unit,
               "held": one.held.path if one.held else None, "at": one.at}  # fmt: skip
        facts = {"family": one.family, "method": one.method, "note": one.note,
                 "withheld": one.withheld}  # fmt: skip
        nothing = Against(None, None, math.nan, math.nan, one.n, math.nan, None)
        for level in one.factor.levels:
            against = one.beaten.get(level, nothing)
            kind = "beaten" if level in one.beaten else "kept"
            listed.append({**key, "kind": kind, "level": level, **_row(against), **facts})
        for tie in one.ties:
            listed.append({**key, "kind": "tie", "level": tie.behind, **_row(tie), **facts})
    return as_written(pd.DataFrame(listed), rows=listed, columns=["at", "level", "by"])


def _row(one: Against) -> dict[str, Any]:
    return {"by": one.ahead, "lead": one.lead, "sd": one.sd, "n": one.n, "p": one.p,
            "needed": one.needed}  # fmt: skip
