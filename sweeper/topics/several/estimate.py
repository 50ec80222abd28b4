"""Several sweeps looked at together: which are tasks of their own, and which only other budgets.

A task is a data set, told by its fingerprint. Sweeps of one data set under several budgets stand
side by side and count once: what is taken over tasks is taken for each unit of the budget by
itself, from the first sweep named of each data set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from sweeper.analysis.factors import axes, is_condition
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.measures import Measure, objective
from sweeper.analysis.view import SweepView, view_of
from sweeper.errors import InputError
from sweeper.topics.across import estimate as across
from sweeper.topics.across.estimate import Across, SideBySide
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.best_levels.estimate import Level, LevelComparison
from sweeper.topics.fairness import estimate as fairness
from sweeper.topics.fairness.estimate import Claim
from sweeper.topics.subset_variance import estimate as draws
from sweeper.topics.subset_variance.estimate import Draw
from sweeper.topics.trends import estimate as trends

UNITS = {"steps": "updates"}
NOTHING = Estimate(math.nan, math.nan, math.nan, math.nan, 0, math.nan, 1, "", "no runs")


def unit_of(unit: str) -> str:
    """A unit of the budget as a reader calls it."""
    return UNITS.get(unit, unit)


@dataclass(frozen=True)
class OneSweep:
    """One of the sweeps.

    Attributes:
        task: the place of its data set among those of all sweeps, in the order of the sweeps.
        amounts: of the budget, as a reader writes them: `30`, or `10, 30`.
    """

    name: str
    frames: Frames
    view: SweepView
    task: int
    data: str
    unit: str
    amounts: str

    @property
    def budget(self) -> str:
        return f"{self.amounts} {unit_of(self.unit)}"


@dataclass(frozen=True)
class Claimed:
    """The result of one sweep for one level of a factor; `level` is None without a comparison.

    `cost` is the level's change against the best of that sweep, by its table of all pairs.
    """

    member: OneSweep
    found: LevelComparison | None
    level: Level | None
    claim: Claim | None

    @property
    def cost(self) -> Estimate:
        return self.level.cost if self.level else NOTHING


@dataclass(frozen=True)
class Gap:
    """How far the trends of two sweeps lie apart, `one` minus `two`; all pairs at once."""

    one: str
    two: str
    estimate: Estimate


@dataclass(frozen=True)
class SharedFactor:
    """A factor that all sweeps have.

    Attributes:
        rows: a row a sweep and level.
        found: sweep's name -> its comparison of the levels, where it has one.
        condition: whether it is no choice, so that no level of it is best.
        over: unit of the budget -> the factor over tasks, one sweep a task.
    """

    path: str
    name: str
    rows: tuple[Claimed, ...]
    found: Mapping[str, LevelComparison]
    condition: bool
    gaps: tuple[Gap, ...]
    side: SideBySide | None
    over: Mapping[str, Across]


@dataclass(frozen=True)
class Several:
    """The sweeps in the order named, and the factors that all of them have, the main one first."""

    members: tuple[OneSweep, ...]
    measure: Measure
    shared: tuple[SharedFactor, ...]
    draws: tuple[Draw, ...] = ()  # of two sweeps that differ in how they draw the subset

    @property
    def tasks(self) -> int:
        return len({one.task for one in self.members})


def check(frames: Sequence[Frames]) -> None:
    """Whether these sweeps can be compared at all, by what their specs say.

    Raises:
        InputError: they have other objectives, or no factor in common.
    """
    names = [one.sweep.name for one in frames]
    goals = {
        (goal.name, goal.direction): name
        for one, name in zip(reversed(frames), reversed(names), strict=True)
        for goal in [objective(one.sweep.spec)]
    }
    if len(goals) > 1:
        told = ", ".join(
            f"{direction} {metric} in {name}"
            for (metric, direction), name in reversed(goals.items())
        )
        raise InputError(f"sweeps of one objective can be compared; these have {told}")
    if not _paths(frames):
        told = "; ".join(
            f"{one.sweep.name}: {', '.join(one.sweep.spec.get('scientific', {}))}" for one in frames
        )
        raise InputError(f"these sweeps have no factor in common ({told})")


def unique(names: Sequence[str]) -> None:
    """Raises InputError when a sweep is named twice."""
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise InputError(f"{twice!r} is named more than once")


def _paths(frames: Sequence[Frames]) -> list[str]:
    """The factors of the question that all sweeps have, in the order of the first."""
    asked = [one.question.factors for one in frames]
    return [path for path in asked[0] if all(path in other for other in asked[1:])]


def build(frames: Sequence[Frames]) -> Several:
    """All of it; `check` has passed."""
    members = _members(frames)
    shared = [_shared(members, path=path) for path in _paths(frames)]
    first = {factor.path: factor for one in reversed(members) for factor in one.view.factors}
    main, by = axes([first[one.path] for one in shared if one.path in first])
    leading = [factor.path for factor in (main, by) if factor is not None]
    shared.sort(key=lambda one: leading.index(one.path) if one.path in leading else len(leading))
    split = draws.build([(one.name, one.view) for one in members])
    return Several(members, members[0].view.objective, tuple(shared), split)


def _members(frames: Sequence[Frames]) -> tuple[OneSweep, ...]:
    seen: dict[str, int] = {}
    found = []
    for one in frames:
        spec, name = one.sweep.spec, one.sweep.name
        task = seen.setdefault(str(one.sweep.facts.get("fingerprint") or one.data), len(seen))
        unit = spec.get("budget", {}).get("unit", "epochs")
        found.append(
            OneSweep(
                name, one, view_of(one), task, one.data, unit, ", ".join(map(str, one.budgets))
            )
        )
    return tuple(found)


def _shared(members: Sequence[OneSweep], *, path: str) -> SharedFactor:
    found = {
        one.name: levels
        for one in members
        for levels in one.view.of(best_levels.build)
        if levels.factor.path == path
    }
    rows = tuple(row for one in members for row in _rows(one, found.get(one.name), path=path))
    views = {one.name: one.view for one in members if one.view.grid}
    side = across.side_by_side(views, path=path)
    reference = side.factor.reference if side else None
    over = {}
    for unit in dict.fromkeys(one.unit for one in members):
        tasks: dict[int, str] = {}
        for one in members:
            if one.unit == unit and one.name in views and _has(one, path):
                tasks.setdefault(one.task, one.name)
        group = {name: views[name] for name in tasks.values()}
        built = across.build(group, path=path, reference=reference)
        if built is not None:
            over[unit] = built
    name = next(
        (factor.name for one in members for factor in one.view.factors if factor.path == path), path
    )
    gaps = tuple(_gaps(members, path=path))
    return SharedFactor(path, name, rows, found, is_condition(path), gaps, side, over)


def _has(one: OneSweep, path: str) -> bool:
    return any(factor.path == path for factor in one.view.factors)


def _rows(one: OneSweep, found: LevelComparison | None, *, path: str) -> Iterator[Claimed]:
    fair = one.view.of(fairness.build)
    claim = fair.claim(path) if fair else None
    if found is None:
        yield Claimed(one, None, None, claim)
        return
    for level in found.levels:
        yield Claimed(one, found, level, claim)


def _gaps(members: Sequence[OneSweep], *, path: str) -> Iterator[Gap]:
    """Every pair of trends of one step."""
    slopes = {
        one.name: (one, slope)
        for one in members
        for slope in one.view.of(trends.build).slopes
        if slope.factor.path == path and slope.measure is one.view.objective
    }
    if len({slope.factor.step for _, slope in slopes.values()}) != 1:
        return
    pairs = list(combinations(slopes.values(), 2))
    for (one, first), (two, second) in pairs:
        by_one, by_two = first.overall.by_replicate, second.overall.by_replicate
        same = one.task == two.task
        yield Gap(one.name, two.name, across.apart(by_one, by_two, paired=same, family=len(pairs)))
