"""How many replicates are enough, by a rule that was fixed before any were seen (statistics 3.3).

Three rules: a fixed number, Stein's two stages, and planned looks. `planned.py` has their
intervals, `pairs.py` the table of all pairs that they decide by.

A rule decides about the sweep by what is recorded, and nothing else: asked again after a crash it
says the same. What it has said is kept with the sweep (`Sweep.stages`), first stages and spent
error included, and is never decided anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from sweeper.analysis import comparable, effects
from sweeper.analysis.factors import strongest
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import FIRM, Estimate, mean_interval
from sweeper.analysis.measures import POINTS, Measure, objective, responses
from sweeper.analysis.pairs import Pairs, all_pairs, standings, undecided
from sweeper.analysis.planned import ALPHA, look_interval, stein, stein_interval
from sweeper.analysis.verdicts import MARGIN
from sweeper.store.records import Sweep

# --- what they are asked about


@dataclass(frozen=True)
class Family:
    """The levels of a factor on the objective, at the condition in question.

    Attributes:
        y: index level, columns replicates, NaN where a run is missing.
        margin: the difference that does not matter, in the measure's unit; None: there is none.
    """

    factor: str
    y: pd.DataFrame
    direction: str
    margin: float | None


def families(frames: Frames) -> list[Family]:
    """What the answer and every plan for replicates rest on: a table of all pairs a choice.

    Conditions are held where the question asks (the strongest imbalance), and are compared only
    where the sweep varies nothing else. None where cells cannot be compared in pairs.
    """
    found = comparable.comparable_cells(frames)
    if found.comparison is not comparable.Comparison.PAIRED:
        return []
    measure = objective(frames.sweep.spec)
    y = responses(frames, measure=measure, cells=found.compared)
    factors = comparable.scientific(frames, cells=found.compared)
    held = strongest(factors)
    choices = [one for one in factors if one.path not in held] or list(factors)
    return [
        Family(
            one.path,
            effects.over_levels(y, cells=frames.cells, factor=one, held=held),
            measure.direction,
            margin_of(measure),
        )
        for one in choices
    ]


def complete_replicates(y: pd.DataFrame) -> list[int]:
    """The replicates of y[level, r] that have every level."""
    return [int(r) for r in y.dropna(axis=1).columns]


def margin_of(measure: Measure) -> float | None:
    """The difference in this measure that does not matter; a loss has none."""
    return MARGIN if measure.unit == "points" else None


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

    def interval(self, values: Mapping[int, float], *, family: int = 1) -> Estimate:
        """The interval of a mean difference, from the differences by replicate."""
        return mean_interval(list(values.values()), family=family)

    def pairs(self, y: pd.DataFrame, *, direction: str, factor: str = "") -> Pairs:
        """The table of all pairs of y[level, r]; `factor` names a primary one."""
        del factor
        return all_pairs(y.to_numpy(float), levels=tuple(y.index), direction=direction)

    @property
    def shares(self) -> int:
        """Into how many parts the error is split."""
        return 1

    def method(self) -> str:
        return self.told


@dataclass(frozen=True)
class SteinTwoStage:
    """Stein's: each primary difference to within `half_width`, at most `cap` replicates.

    `first` has the replicates that estimated the spread, once they did.
    """

    half_width: float  # in the measure's unit: points, or as it comes
    cap: int
    start: int
    unit: str
    first: Mapping[str, tuple[int, ...]]  # by factor

    @property
    def shares(self) -> int:
        return 1

    def interval(self, values: Mapping[int, float], *, family: int = 1) -> Estimate:
        """With the spread of the first replicates."""
        first = [values[r] for r in sorted(values)[: self.start]]
        return stein_interval(list(values.values()), first=first, family=family)

    def pairs(self, y: pd.DataFrame, *, direction: str, factor: str = "") -> Pairs:
        """With the first spread; a primary factor's intervals reach `half_width` at least."""
        first = self.first_stage(y, factor=factor)
        return all_pairs(
            y.to_numpy(float),
            levels=tuple(y.index),
            direction=direction,
            first=[list(map(int, y.columns)).index(r) for r in first],
            floor=self.half_width if factor else 0.0,
            rule=f"two stages, spread of the first {len(first)}",
        )

    def first_stage(self, y: pd.DataFrame, *, factor: str) -> tuple[int, ...]:
        """The replicates that estimate the variance: those kept, else the first complete ones."""
        complete = complete_replicates(y)
        kept = self.first.get(factor)
        if kept is not None and set(kept) <= set(complete):
            return kept
        return tuple(sorted(complete)[: self.start])

    def decide(self, found: Sequence[Family], *, replicates: int) -> Decision:
        """Whether the differences are as exact as asked, or what is still missing."""
        facts = tuple(fact for one in found for fact in self._facts(one))
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

    def _facts(self, one: Family) -> Iterator[Mapping[str, Any]]:
        y, first = one.y, self.first_stage(one.y, factor=one.factor)
        pairs = list(combinations(y.index, 2))
        for two, level in pairs:
            d = (y.loc[level] - y.loc[two])[list(first)].to_numpy(float)
            # A first stage that lacks blocks is completed before it estimates a variance.
            needed = (
                self.start
                if len(first) < self.start
                else stein(d, half_width=self.half_width, cap=MOST, family=len(pairs))
            )
            yield {
                "factor": one.factor,
                "level": level,
                "against": two,
                "n": len(complete_replicates(y)),
                "first": list(first),
                "sd": float(np.std(d, ddof=1)) if len(d) > 1 else None,
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

    def interval(self, values: Mapping[int, float], *, family: int = 1) -> Estimate:
        """With this look's share of the error."""
        at = self.looks.index(self.replicates) + 1 if self.replicates in self.taken else 0
        return look_interval(list(values.values()), looks=len(self.looks), at=at, family=family)

    def pairs(self, y: pd.DataFrame, *, direction: str, factor: str = "") -> Pairs:
        """With this look's share of the error."""
        del factor
        at = self.looks.index(self.replicates) + 1 if self.replicates in self.taken else 0
        which = f"look {at} of {len(self.looks)}" if at else f"between {len(self.looks)} looks"
        return all_pairs(
            y.to_numpy(float),
            levels=tuple(y.index),
            direction=direction,
            shares=len(self.looks),
            rule=which,
        )

    def decide(self, found: Sequence[Family], *, replicates: int) -> Decision:
        """Whether every level is decided at this look."""
        facts = tuple(fact for one in found for fact in self._facts(one, replicates))
        undecided = sum(not fact["decided"] for fact in facts)
        at, alpha = self.looks.index(replicates) + 1, ALPHA / len(self.looks)
        which = f"look {at} of {len(self.looks)}"
        if not found:
            text = f"nothing can be compared at {which}"
            return Decision(replicates, "nothing", text, alpha)
        if not undecided:
            text = f"stopped at {which}, with {replicates} replicates: every level decided"
            return Decision(replicates, "decided", text, alpha, facts)
        left = f"{undecided} of {len(facts)} levels undecided"
        if at == len(self.looks):
            text = f"stopped at {which}, the last, with {replicates} replicates: {left}"
            return Decision(replicates, "last_look", text, alpha, facts)
        text = f"{which}, with {replicates} replicates: {left}; the next is at {self.looks[at]}"
        return Decision(self.looks[at], "", text, alpha, facts)

    def _facts(self, one: Family, replicates: int) -> Iterator[Mapping[str, Any]]:
        y = one.y[[r for r in one.y.columns if int(r) < replicates]]  # pyright: ignore
        found = all_pairs(
            y.to_numpy(float),
            levels=tuple(y.index),
            direction=one.direction,
            shares=len(self.looks),
        )
        open_levels = undecided(found, margin=one.margin)
        for standing in standings(found):
            settled = found.n >= FIRM and standing.level not in open_levels
            yield {
                "factor": one.factor,
                "level": standing.level,
                "n": found.n,
                "decided": settled,
                "verdict": "beaten" if standing.beaten else "may be best",
            }

    def method(self) -> str:
        listed = ", ".join(map(str, self.looks[:-1])) + f" and {self.looks[-1]}"
        return (
            f"The levels were compared after {listed} replicates at most, and the sweep "
            "stopped as soon as every level was decided. Each look has its share of the error "
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


def _first_stages(sweep: Sweep) -> Mapping[str, tuple[int, ...]]:
    """The replicates behind the variances of each factor, for every target with this start.

    Only whole first stages: one that lacked blocks told nothing yet.
    """
    start, kept = sweep.spec["replicates"]["start"], {}
    for stage in sweep.stages:
        plan = stage["plan"]
        if isinstance(plan, Mapping) and plan.get("start") == start:
            for one in stage["facts"]:
                if len(one["first"]) >= start:
                    kept.setdefault(one["factor"], tuple(one["first"]))
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
