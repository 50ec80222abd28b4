"""How many replicates are enough, by a rule that was fixed before any were seen (statistics 3.3).

Three rules. A fixed number: plain t intervals. Stein's two stages: the spread of the first
replicates alone tells how many it takes to know each difference to within a half-width; mean and
spread of normal noise are independent, so that the interval made of the final mean, the first
spread and its degrees of freedom is exact, where one with the final spread is not. Planned looks:
each look gets its share of the error, so that all of them together make no more false alarms than
one.

A rule decides about the sweep by what is recorded, and nothing else: asked again after a crash it
says the same. What it has said is kept with the sweep (`Sweep.stages`), first stages and spent
error included, and is never decided anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sweeper.analysis import comparable, effects
from sweeper.analysis.effects import Difference
from sweeper.analysis.factors import Factor, scientific
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import LEVEL, Estimate, holm, mean_interval
from sweeper.analysis.measures import POINTS, objective, responses
from sweeper.analysis.verdicts import MARGIN, Word, judge
from sweeper.store.records import Sweep

ALPHA = 1 - LEVEL
Levels: TypeAlias = tuple[str, Any]  # a factor's path, and the level that is compared


# --- the estimators, of arrays


def stein(first: ArrayLike, *, half_width: float, cap: int, family: int = 1) -> int:
    """How many replicates give a difference an interval of this half-width.

    `max(n0, ceil((T(1 - .05 / (2 family), n0 - 1) s0 / h)^2))`, at most `cap`; n0 and s0 are of
    the first stage (n0,). Source: Stein 1945.
    """
    x = _finite(first)
    if len(x) < 2:
        return cap
    need = (_quantile(family=family, df=len(x) - 1) * float(x.std(ddof=1)) / half_width) ** 2
    return min(max(len(x), math.ceil(min(need, cap))), cap)


def stein_interval(
    values: ArrayLike, *, first: ArrayLike, half_width: float = 0.0, family: int = 1
) -> Estimate:
    """The mean of `values` (N,) with `mean +- max(h, T(.975, n0 - 1) s0 / sqrt(N))`.

    `first` (n0,) are the differences of the first stage, which `values` hold too; `sd` is theirs.
    """
    x, start = _finite(values), _finite(first)
    plain = mean_interval(x, family=family)
    spread = mean_interval(start, family=family)
    n, n0 = len(x), len(start)
    together = f", simultaneous over {family} comparisons (Bonferroni)" if family > 1 else ""
    method = (
        f"95% two-stage interval (Stein) over {n} replicates, spread of the first {n0}{together}"
    )
    rule = f"two stages, spread of the first {n0}"
    if not spread.known:
        return replace(
            plain,
            low=math.nan,
            high=math.nan,
            p=math.nan,
            method=method,
            note=spread.note,
            rule=rule,
        )
    error = spread.sd / math.sqrt(n)
    half = max(half_width, _quantile(family=family, df=n0 - 1) * error)
    p = float(2 * stats.t.sf(abs(plain.value) / error, n0 - 1))
    return Estimate(
        plain.value,
        plain.value - half,
        plain.value + half,
        spread.sd,
        n,
        p,
        family,
        method,
        "",
        rule,
    )


def look_interval(values: ArrayLike, *, looks: int, at: int = 0, family: int = 1) -> Estimate:
    """The t interval of `values` (n,) at one of several looks, each with its share of the error.

    `mean +- T(1 - .05 / (2 family looks), n - 1) s / sqrt(n)`; look `at` counts from 1, 0 is none
    of the planned ones.
    """
    x = _finite(values)
    found = mean_interval(x, family=family, level=1 - ALPHA / looks)
    which = f"look {at} of {looks}" if at else f"between {looks} looks"
    together = f", simultaneous over {family} comparisons (Bonferroni)" if family > 1 else ""
    method = (
        f"t interval over {len(x)} replicates at {which}: {1 - ALPHA / looks:.1%} each, 95% over "
        f"all looks{together}"
    )
    return replace(found, method=method, rule=which)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=float).ravel()
    return x[np.isfinite(x)]


def _quantile(*, family: int, df: int, shares: int = 1) -> float:
    return float(stats.t.ppf(1 - ALPHA / (2 * family * shares), df))


# --- what they are asked about


@dataclass(frozen=True)
class Contrast:
    """A primary paired difference: a level against the reference, by complete replicate."""

    factor: str
    level: Any
    family: int
    direction: str
    margin: float | None
    by_replicate: Mapping[int, float]

    @property
    def key(self) -> Levels:
        return self.factor, self.level


def contrasts(frames: Frames) -> list[Contrast]:
    """The primary family: the objective's differences of every scientific factor, as reported."""
    asked = list(frames.sweep.spec.get("scientific", {}))
    found = comparable.comparable_cells(frames, paths=asked)
    if found.comparison is not comparable.Comparison.PAIRED:
        return []
    measure = objective(frames.sweep.spec)
    y = responses(frames, measure=measure, cells=found.compared)
    margin = MARGIN if measure.unit == "points" else None
    return [
        Contrast(
            factor.path, one.level, one.estimate.family, measure.direction, margin, one.by_replicate
        )
        for factor in scientific(frames, cells=found.compared)
        for one in effects.paired(
            effects.over_levels(y, cells=frames.cells, factor=factor),
            reference=factor.reference,
            direction=measure.direction,
        )
    ]


@dataclass(frozen=True)
class Decision:
    """The decision of a rule at a number of replicates.

    Attributes:
        wanted: how many it is to have; more only when `ended` is empty.
        ended: why it ends: target, cap, decided, last_look, nothing; empty when it goes on.
        text: the same in a sentence without its full stop.
        alpha: of the error, what this look has spent.
        facts: a row a difference, to be kept: what the decision rests on.
    """

    wanted: int
    ended: str
    text: str
    alpha: float
    facts: tuple[Mapping[str, Any], ...] = ()


# --- the rules


@dataclass(frozen=True)
class Fixed:
    """So many replicates, whatever they show.

    Attributes:
        told: how their cells were chosen, if they were.
        key: of the spec, which says how many.
    """

    told: str = ""
    key: str = "replicates"

    def interval(
        self, values: Mapping[int, float], *, family: int = 1, of: Levels | None = None
    ) -> Estimate:
        """The interval of a mean difference, from the differences by replicate.

        `of` names a primary difference.
        """
        del of
        return mean_interval(list(values.values()), family=family)

    @property
    def shares(self) -> int:
        """Into how many parts the error is split."""
        return 1

    def method(self) -> str:
        return self.told


@dataclass(frozen=True)
class SteinTwoStage:
    """Stein's: each primary difference to within `half_width`, at most `cap` replicates.

    `first` keeps which replicates the spread was told from, once it was.
    """

    half_width: float  # in the measure's unit: points, or as it comes
    cap: int
    start: int
    unit: str
    first: Mapping[Levels, tuple[int, ...]]

    @property
    def shares(self) -> int:
        return 1

    def interval(
        self, values: Mapping[int, float], *, family: int = 1, of: Levels | None = None
    ) -> Estimate:
        """A primary difference's is at least `half_width` to either side; another's as it is."""
        kept = [values[r] for r in self.first_stage(values, of=of)]
        floor = 0.0 if of is None else self.half_width
        return stein_interval(list(values.values()), first=kept, half_width=floor, family=family)

    def first_stage(
        self, values: Mapping[int, float], *, of: Levels | None = None
    ) -> tuple[int, ...]:
        """The replicates that estimate the variance: those kept, else the first complete ones."""
        kept = self.first.get(of) if of is not None else None
        if kept is not None and set(kept) <= set(values):
            return kept
        return tuple(sorted(values)[: self.start])

    def decide(self, found: Sequence[Contrast], *, replicates: int) -> Decision:
        """Whether the differences are as exact as asked, or what is still missing."""
        facts = tuple(self._facts(one) for one in found)
        short = max((fact["needed"] - fact["n"] for fact in facts), default=0)
        size = amount(self.half_width, unit=self.unit)
        if not found:
            text = f"nothing can be compared after {replicates} replicates"
            return Decision(replicates, "nothing", text, ALPHA)
        if short <= 0:
            text = f"target of {size} reached with {replicates} replicates"
            return Decision(replicates, "target", text, ALPHA, facts)
        if replicates >= self.cap:
            text = f"cap of {self.cap} replicates reached before the target of {size}"
            return Decision(replicates, "cap", text, ALPHA, facts)
        wanted = min(replicates + short, self.cap)
        text = f"the first stage asks for {wanted} replicates to reach a target of {size}"
        return Decision(wanted, "", text, 0.0, facts)

    def _facts(self, one: Contrast) -> Mapping[str, Any]:
        first = self.first_stage(one.by_replicate, of=one.key)
        d = [one.by_replicate[r] for r in first]
        # A first stage that lacks blocks is completed before it estimates a variance.
        needed = (
            self.start
            if len(first) < self.start
            else stein(d, half_width=self.half_width, cap=MOST, family=one.family)
        )
        sd = float(np.std(d, ddof=1)) if len(d) > 1 else None
        return {
            "factor": one.factor,
            "level": one.level,
            "n": len(one.by_replicate),
            "first": list(first),
            "sd": sd,
            "needed": needed,
        }

    def method(self) -> str:
        return (
            "The number of replicates was planned in two stages (Stein, 1945): the spread of the "
            f"first {self.start} told how many it takes to know each difference to within "
            f"{amount(self.half_width, unit=self.unit)}, up to {self.cap}. Intervals of the "
            "primary family use that first spread and its degrees of freedom, and are no narrower "
            "than the target."
        )


@dataclass(frozen=True)
class GroupSequential:
    """Looks at so many replicates each; `taken` of them are behind us."""

    looks: tuple[int, ...]
    taken: tuple[int, ...] = ()
    replicates: int = 0  # that the sweep has now

    @property
    def shares(self) -> int:
        return len(self.looks)

    def interval(
        self, values: Mapping[int, float], *, family: int = 1, of: Levels | None = None
    ) -> Estimate:
        """With this look's share of the error."""
        del of
        at = self.looks.index(self.replicates) + 1 if self.replicates in self.taken else 0
        return look_interval(list(values.values()), looks=len(self.looks), at=at, family=family)

    def decide(self, found: Sequence[Contrast], *, replicates: int) -> Decision:
        """Whether every difference is decided at this look."""
        facts = tuple(self._facts(one, replicates) for one in found)
        undecided = sum(not fact["decided"] for fact in facts)
        at, alpha = self.looks.index(replicates) + 1, ALPHA / len(self.looks)
        which = f"look {at} of {len(self.looks)}"
        if not found:
            text = f"nothing can be compared at {which}"
            return Decision(replicates, "nothing", text, alpha)
        if not undecided:
            text = f"stopped at {which}, with {replicates} replicates: every difference decided"
            return Decision(replicates, "decided", text, alpha, facts)
        left = f"{undecided} of {len(found)} differences undecided"
        if at == len(self.looks):
            text = f"stopped at {which}, the last, with {replicates} replicates: {left}"
            return Decision(replicates, "last_look", text, alpha, facts)
        text = f"{which}, with {replicates} replicates: {left}; the next is at {self.looks[at]}"
        return Decision(self.looks[at], "", text, alpha, facts)

    def _facts(self, one: Contrast, replicates: int) -> Mapping[str, Any]:
        values = [d for r, d in one.by_replicate.items() if r < replicates]
        estimate = look_interval(values, looks=len(self.looks), family=one.family)
        verdict = judge(estimate, direction=one.direction, margin=one.margin)
        decided = verdict.word not in (Word.UNDECIDED, Word.UNKNOWN) and not verdict.suggestive
        return {
            "factor": one.factor,
            "level": one.level,
            "n": len(values),
            "decided": decided,
            "verdict": str(verdict.word),
        }

    def method(self) -> str:
        listed = ", ".join(map(str, self.looks[:-1])) + f" and {self.looks[-1]}"
        return (
            f"The differences were looked at after {listed} replicates at most, and the sweep "
            "stopped as soon as every one was decided. Each look has its share of the error "
            f"(alpha = {ALPHA:.2f} / {len(self.looks)}), so that together they make no more false "
            "alarms than one."
        )


Rule: TypeAlias = Fixed | SteinTwoStage | GroupSequential
PLAIN = Fixed()
MOST = 1_000_000  # replicates that a first stage may ask for, before the cap


def amount(half_width: float, *, unit: str) -> str:
    """`1 point`, `0.5 points`, or the number as it comes."""
    if unit != "points":
        return f"{half_width:g}"
    return f"{half_width:g} point{'' if half_width == 1 else 's'}"


def rule_of(sweep: Sweep, *, replicates: int = 0) -> Rule:
    """The rule that a sweep was planned by, with what it has been asked so far.

    `replicates`: that the compared cells have by now.
    """
    plan, stages = sweep.spec.get("replicates"), stages_of(sweep)
    if not isinstance(plan, Mapping):
        return PLAIN
    if "screen" in plan:
        return Fixed(_screened(plan), "replicates.confirm")
    if "looks" in plan:
        return GroupSequential(
            tuple(plan["looks"]), tuple(one["replicates"] for one in stages), replicates
        )
    measure = objective(sweep.spec)
    return SteinTwoStage(
        half_width=plan["target"] * (POINTS if measure.unit == "points" else 1.0),
        cap=plan["max"],
        start=plan["start"],
        unit=measure.unit,
        first=_first_stages(sweep),
    )


def _screened(plan: Mapping[str, Any]) -> str:
    most = f", at most {plan['keep']} by their mean," if plan["keep"] else ""
    return (
        f"All cells were screened with {plan['screen']} replicates each; those that no other beat "
        f"on the validation split (comparisons with the best; Hsu, 1984){most} and any at the "
        f"stated reference went on. All reported numbers come from {plan['confirm']} fresh "
        "replicates of these, none of which the screening had seen."
    )


def _first_stages(sweep: Sweep) -> Mapping[Levels, tuple[int, ...]]:
    """The replicates behind each difference's variance, for every target with this start.

    Only whole first stages: one that lacked blocks told nothing yet.
    """
    start, kept = sweep.spec["replicates"]["start"], {}
    for stage in sweep.stages:
        plan = stage["plan"]
        if isinstance(plan, Mapping) and plan.get("start") == start:
            for one in stage["facts"]:
                if len(one["first"]) >= start:
                    kept.setdefault((one["factor"], one["level"]), tuple(one["first"]))
    return kept


def stages_of(sweep: Sweep) -> list[dict[str, Any]]:
    """What was decided under the plan that the sweep has now, oldest first."""
    return [one for one in sweep.stages if one["plan"] == sweep.spec.get("replicates")]


def planned_before(sweep: Sweep) -> list[int]:
    """At how many replicates the sweep was looked at under another plan than it has now.

    Under Stein's rule another target or cap is no other look: the spread is that of before.
    """
    plan = sweep.spec.get("replicates")
    start = plan.get("start", 0) if isinstance(plan, Mapping) else 0

    def other(before: Any) -> bool:
        same_start = isinstance(before, Mapping) and before.get("start") == start
        return before != plan and not same_start

    return [
        int(one["plan"]["confirm"] if one["ended"] == "screened" else one["replicates"])
        for one in sweep.stages
        if other(one["plan"])
    ]


def stopped(sweep: Sweep) -> str:
    """The rule that stopped the sweep, in a sentence without its full stop; empty when none did."""
    stages = stages_of(sweep)
    return str(stages[-1]["text"]) if stages and stages[-1]["ended"] not in ("", "fixed") else ""


# --- in the place of plain intervals


def follow(found: Sequence[Difference], *, rule: Rule, factor: Factor) -> list[Difference]:
    """Paired differences with the intervals of the rule, and Holm's p over them and the looks."""
    if isinstance(rule, Fixed):
        return list(found)
    made = [
        rule.interval(one.by_replicate, family=one.estimate.family, of=(factor.path, one.level))
        for one in found
    ]
    adjusted = holm([one.p for one in made]) if made else np.empty(0)
    return [
        replace(one, estimate=estimate, p_holm=float(min(p * rule.shares, 1.0)))
        for one, estimate, p in zip(found, made, adjusted, strict=True)
    ]
