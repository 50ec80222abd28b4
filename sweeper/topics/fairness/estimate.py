"""Was the comparison fair? Tuning of nuisance factors, cell by cell (2.9), and a badge a claim.

Candidates run on replicates of their own (negative numbers) and are read on `val`. Of the
candidates within one standard error of the best, the pick is the one nearest to the middle; so a
pick at the end of the range means that better values may lie beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sweeper.analysis.factors import Factor, combination, is_number, name_of
from sweeper.analysis.frames import Frames
from sweeper.analysis.imported import UNKNOWN
from sweeper.analysis.measures import POINTS
from sweeper.analysis.verdicts import Verdict, withhold
from sweeper.analysis.view import SweepView
from sweeper.states import FINISHED, RunState
from sweeper.topics.failures import estimate as failures

RATE = "train.lr"
OUTER = 0.1  # of several nuisance factors, a pick in the outer tenth of a range lies at its edge


@dataclass(frozen=True)
class Candidate:
    """One set of nuisance levels tried for a cell, on the replicates that serve tuning only.

    Attributes:
        values: the objective on val of each complete run, in the measure's unit.
        rank: 1 is the best mean; None where no run is complete.
        close: whether its mean lies within one standard error of the best.
    """

    levels: tuple[Any, ...]
    values: tuple[float, ...]
    runs: int
    ended: int
    mean: float
    rank: int | None
    close: bool
    picked: bool


@dataclass(frozen=True)
class Tuned:
    """The tuning of one reported cell.

    Attributes:
        picks: the level of each nuisance factor with which the cell is reported.
        edges: the nuisance factors whose pick lies at the edge of what was tried.
        near: of the first numeric factor, the lowest and highest level within one standard error
            of the best; None without two runs of the best candidate.
        width: its width in the factor's steps: doublings on a log scale, else its own unit.
    """

    cell: int
    picks: tuple[Any, ...]
    candidates: tuple[Candidate, ...]
    edges: tuple[str, ...]
    near: tuple[float, float] | None
    width: float

    @property
    def rank(self) -> int | None:
        return next((one.rank for one in self.candidates if one.picked), None)

    @property
    def trials(self) -> tuple[int, int]:
        """How many candidates, and how many of their runs ended."""
        return len(self.candidates), sum(one.ended for one in self.candidates)


class Condition(NamedTuple):
    """One of the five; `holds` is None where it does not apply."""

    name: str
    holds: bool | None
    reason: str


@dataclass(frozen=True)
class Claim:
    """The badge of the answer about one choice, where the question asks."""

    path: str
    name: str
    conditions: tuple[Condition, ...]

    @property
    def fair(self) -> bool:
        return all(one.holds is not False for one in self.conditions)

    @property
    def missing(self) -> tuple[Condition, ...]:
        return tuple(one for one in self.conditions if one.holds is False)


@dataclass(frozen=True)
class Fairness:
    """How each cell was tuned, and how fair each primary claim is.

    Attributes:
        nuisance: the nuisance factors as axes, the learning rate first.
        cells: the tuning of each cell that is compared; empty without a nuisance factor.
        equal: whether every cell had as many candidates and ended runs as any other.
    """

    nuisance: tuple[Factor, ...]
    cells: tuple[Tuned, ...]
    equal: bool
    claims: tuple[Claim, ...]

    def claim(self, path: str) -> Claim | None:
        return next((one for one in self.claims if one.path == path), None)

    def at_edge(self, cells: Collection[int]) -> tuple[Tuned, ...]:
        """Those of `cells` whose pick lies at an edge."""
        return tuple(one for one in self.cells if one.edges and one.cell in cells)


def build(view: SweepView) -> Fairness | None:
    """The fairness of the sweep's answers; None where there is none, and no tuning."""
    axes = nuisance_factors(view.frames)
    cells = tuple(_tuned(view, axes)) if axes else ()
    claims = claims_at(view, axes=axes, cells=cells, held=view.held)
    return Fairness(axes, cells, _equal(cells), claims) if cells or claims else None


def claims_at(
    view: SweepView, *, axes: Sequence[Factor], cells: Sequence[Tuned], held: Mapping[str, Any]
) -> tuple[Claim, ...]:
    """A claim for each choice, with the conditions held (path -> level); none without a grid."""
    if not view.grid:
        return ()
    asked = _asked(view, held)
    here = [one for one in cells if one.cell in asked]
    lost = view.responses[view.objective.name].loc[asked].isna().any(axis=0).sum()
    fallen = view.of(failures.build).collapses
    shared = (
        _equal_budget(view, cells=cells),
        _not_at_edge(axes, cells=here),
        _complete(view, dropped=int(lost)),
        _no_collapse(sum(one.measure == view.objective and one.cell in asked for one in fallen)),
    )
    return tuple(
        Claim(
            factor.path,
            factor.name,
            (
                _tuned_rate(view, factor=factor, axes=axes, cells=here, compared=len(asked)),
                *shared,
            ),
        )
        for factor in view.choices
    )


def _asked(view: SweepView, held: Mapping[str, Any]) -> list[int]:
    """The cells that are compared with these conditions."""
    factors = view.frames.cells["factors"]
    return [one for one in view.comparable.compared if held.items() <= factors[one].items()]


def _equal(cells: Sequence[Tuned]) -> bool:
    return len({one.trials for one in cells}) <= 1


def nuisance_factors(frames: Frames) -> tuple[Factor, ...]:
    """The nuisance factors with the levels that were tried, the learning rate first."""
    spec = frames.sweep.spec.get("nuisance") or {}
    tried = frames.cells[(frames.cells["role"] == "tuning") & ~frames.cells["hidden"].astype(bool)]
    found = []
    for path in sorted(spec, key=lambda one: one != RATE):
        levels = {one[path]: None for one in tried["factors"] if path in one}
        if levels:
            found.append(_axis(path, levels=list(levels), written=spec[path]))
    return tuple(found)


def _axis(path: str, *, levels: list[Any], written: Any) -> Factor:
    if not all(is_number(one) for one in levels):
        return Factor(path, name_of(path), tuple(levels), "category", levels[0])
    levels = sorted(levels)
    log = bool(written.get("log")) if isinstance(written, Mapping) else levels[0] > 0
    scale = "log2" if log and levels[0] > 0 else "linear"
    return Factor(path, name_of(path), tuple(levels), scale, levels[(len(levels) - 1) // 2])


def _tuned(view: SweepView, axes: Sequence[Factor]) -> Iterator[Tuned]:
    frames, cells = view.frames, view.frames.cells
    paths = list(frames.question.factors)
    tried: dict[tuple[Any, ...], list[int]] = {}
    for cell, role, hidden, levels in zip(
        cells.index, cells["role"], cells["hidden"], cells["factors"], strict=True
    ):
        if role == "tuning" and not hidden:
            tried.setdefault(combination(levels, paths=paths), []).append(int(cell))
    runs = _runs(view)
    for cell in view.comparable.compared or view.comparable.cells:
        levels = cells["factors"][cell]
        group = tried.get(combination(levels, paths=paths))
        if group:
            picks = tuple(levels.get(axis.path) for axis in axes)
            places = [
                combination(cells["factors"][one], paths=[a.path for a in axes]) for one in group
            ]
            yield tuned(
                [runs.get(one, ((), 0, 0)) for one in group],
                cell=cell,
                levels=places,
                picks=picks,
                axes=axes,
                direction=view.objective.direction,
                spec=frames.sweep.spec.get("nuisance") or {},
            )


def _runs(view: SweepView) -> dict[Any, tuple[tuple[float, ...], int, int]]:
    """For each cell: the objective on val of its complete runs, its runs, and how many ended.

    A run's value is the objective on val, as the tuner read it.
    """
    factor = POINTS if view.objective.unit == "points" else 1.0
    found = {}
    for cell, group in view.frames.runs.groupby("cell"):
        done = group[group["state"] == RunState.COMPLETE]["value"].astype(float)
        values = tuple(factor * one for one in done if math.isfinite(one))
        found[cell] = (values, len(group), int(group["state"].isin(FINISHED).sum()))
    return found


def tuned(
    runs: Sequence[tuple[Sequence[float], int, int]],
    *,
    cell: int,
    levels: Sequence[tuple[Any, ...]],
    picks: tuple[Any, ...],
    axes: Sequence[Factor],
    direction: str,
    spec: Mapping[str, Any],
) -> Tuned:
    """One cell's tuning from its candidates.

    Args:
        runs: of each candidate: the values of its complete runs, its runs, those that ended.
        levels: of each candidate: the level of each nuisance factor, in the order of `axes`.
        picks: the levels with which the cell is reported.
        spec: the nuisance factors as the spec writes them: the ranges that were searched.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    means = np.array([np.mean(v) if len(v) else math.nan for v, _, _ in runs], dtype=float)
    order = np.argsort(-sign * means, kind="stable")  # NaN last
    best = int(order[0]) if np.isfinite(means).any() else None
    error = _error(runs[best][0]) if best is not None else math.nan
    close = np.zeros(len(runs), dtype=bool)
    if best is not None:
        close = sign * means >= sign * means[best] - (error if math.isfinite(error) else 0.0)
    ranks = {
        int(at): 1 + int((sign * means > sign * means[at]).sum())
        for at in order
        if math.isfinite(means[at])
    }
    candidates = tuple(
        Candidate(
            levels[at],
            tuple(values),
            count,
            ended,
            float(means[at]),
            ranks.get(at),
            bool(close[at]),
            levels[at] == picks,
        )
        for at, (values, count, ended) in enumerate(runs)
    )
    edges = tuple(
        axis.path
        for at, axis in enumerate(axes)
        if at_edge(
            picks[at],
            tried=[one[at] for one in levels],
            written=spec.get(axis.path),
            alone=len(axes) == 1,
        )
    )
    near, width = _near(candidates, axes=axes) if math.isfinite(error) else (None, math.nan)
    return Tuned(cell, picks, candidates, edges, near, width)


def _error(values: Sequence[float]) -> float:
    """The standard error of a candidate's mean; NaN for a single run."""
    n = len(values)
    return float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan


def _near(
    candidates: Sequence[Candidate], *, axes: Sequence[Factor]
) -> tuple[tuple[float, float] | None, float]:
    """The near-optimal range of the first numeric factor, and its width in steps."""
    numeric = [(at, axis) for at, axis in enumerate(axes) if axis.scale != "category"]
    if not numeric:
        return None, math.nan
    at, axis = numeric[0]
    seen = [one.levels[at] for one in candidates if one.close]
    low, high = float(min(seen)), float(max(seen))
    return (low, high), axis.position(high) - axis.position(low)


def at_edge(pick: Any, *, tried: Sequence[Any], written: Any, alone: bool) -> bool:
    """Whether a pick lies at the edge of what was tried, so that better may lie beyond it.

    A single factor: the lowest or the highest level tried. Of several, whose points are scattered:
    the outer tenth of the range. 0 is no edge: below it there is nothing. Words have none, nor has
    a factor with a single level.
    """
    levels = sorted({float(one) for one in tried if is_number(one)})
    if not is_number(pick) or len(levels) < 2 or pick == 0:
        return False
    if alone or not (isinstance(written, Mapping) and "low" in written):
        return float(pick) in (levels[0], levels[-1])
    low, high, value = float(written["low"]), float(written["high"]), float(pick)
    if written.get("log"):
        low, high, value = math.log(low), math.log(high), math.log(value)
    part = (value - low) / (high - low)
    return not OUTER < part < 1 - OUTER


def _tuned_rate(
    view: SweepView,
    *,
    factor: Factor,
    axes: Sequence[Factor],
    cells: Sequence[Tuned],
    compared: int,
) -> Condition:
    name, spec = "tuned rate", view.frames.sweep.spec
    if view.frames.foreign:
        return Condition(name, False, UNKNOWN)
    if view.frames.own_trainer:
        why = "The trainer is a function of your own, whose learning rate Sweeper does not know."
        return Condition(name, None, why)
    if factor.path == RATE:
        return Condition(name, None, "The learning rate is itself the factor.")
    if RATE in view.frames.question.keys(factor.path):
        why = "Each level states its learning rate: it was not tuned."
        return Condition(name, False, why)
    if RATE in spec.get("scientific", {}):
        why = "The learning rate is a factor of the grid: every level meets the same rates."
        return Condition(name, False, f"{why} It was not tuned for each level.")
    if RATE not in (spec.get("nuisance") or {}):
        return Condition(name, False, "One learning rate for all levels: it was not tuned.")
    enough = sum(sum(bool(c.values) for c in one.candidates) > 1 for one in cells)
    if not any(axis.path == RATE for axis in axes) or enough < compared:
        return Condition(name, False, f"{enough} of {compared} cells have two or more rates tried.")
    return Condition(name, True, "Tuned for each cell, on replicates that are not reported.")


def _equal_budget(view: SweepView, *, cells: Sequence[Tuned]) -> Condition:
    name = "equal budget"
    if view.frames.foreign and len(view.frames.budgets) != 1:
        return Condition(name, False, UNKNOWN)
    if view.frames.own_trainer and len(view.frames.budgets) != 1:
        return Condition(name, None, "A function of your own may train as long as it likes.")
    if len(view.comparable.cells) < len(view.frames.reported):
        return Condition(name, True, "Cells of another budget are left out; the rest have one.")
    if not cells:
        return Condition(name, True, "All cells train equally long; none was tuned.")
    if not _equal(cells):
        few, many = (pick(one.trials[1] for one in cells) for pick in (min, max))
        return Condition(name, False, f"From {few} to {many} tuning runs ended in a cell.")
    runs = cells[0].trials[1]
    return Condition(name, True, f"All cells train equally long and had {runs} tuning runs.")


def _not_at_edge(axes: Sequence[Factor], *, cells: Sequence[Tuned]) -> Condition:
    name = "not at an edge"
    if not cells or all(axis.scale == "category" for axis in axes):
        return Condition(name, None, "No range was searched.")
    edges = [one for one in cells if one.edges]
    if edges:
        named = " and ".join(name_of(path) for path in dict.fromkeys(edges[0].edges))
        count = f"{len(edges)} of the {len(cells)} cells that are compared"
        return Condition(name, False, f"The best {named} lies at the edge of its range in {count}.")
    return Condition(name, True, "Every pick lies inside the range.")


def _complete(view: SweepView, *, dropped: int) -> Condition:
    name, out = "complete blocks", len(view.comparable.cells) - len(view.comparable.compared)
    if dropped:
        count = f"{dropped} replicate lacks" if dropped == 1 else f"{dropped} replicates lack"
        return Condition(name, False, f"{count} some of the runs.")
    if out:
        return Condition(name, False, f"Levels with {out} cells are left out: their runs are lost.")
    return Condition(name, True, "Every replicate has all the runs that are compared.")


def _no_collapse(collapsed: int) -> Condition:
    if collapsed:
        runs = "1 run" if collapsed == 1 else f"{collapsed} runs"
        return Condition("no collapse", False, f"{runs} collapsed.")
    return Condition("no collapse", True, "No run fell to chance or far below its cell.")


def rows(found: Fairness | None) -> list[dict[str, Any]]:
    """Every tuning point as a row: its cell, its levels, its mean on val, and whether picked."""
    if found is None:
        return []
    return [
        {
            "cell": cell.cell,
            **dict(zip([a.path for a in found.nuisance], one.levels, strict=True)),
            "mean_on_val": one.mean,
            "rank": one.rank,
            "complete": len(one.values),
            "runs": one.runs,
            "close": one.close,
            "picked": one.picked,
            "at_edge": one.picked and bool(cell.edges),
        }
        for cell in found.cells
        for one in cell.candidates
    ]


def claim_rows(found: Fairness | None) -> list[dict[str, Any]]:
    """Every condition of every primary claim as a row."""
    return [
        {
            "claim": claim.path,
            "fair": claim.fair,
            "condition": one.name,
            "applies": one.holds is not None,
            "holds": bool(one.holds),
            "reason": one.reason,
        }
        for claim in (found.claims if found else ())
        for one in claim.conditions
    ]


def edge_reason(cells: Sequence[Tuned]) -> str:
    """`the best learning rate lies at the edge of its range`; empty without a cell."""
    paths = dict.fromkeys(path for one in cells for path in one.edges)
    if not paths:
        return ""
    names = " and ".join(name_of(path) for path in paths)
    return f"the best {names} lies at the edge of its range in {count_of(cells)}"


def withheld(view: SweepView) -> str:
    """Why verdicts on the levels, where the question asks, are withheld; empty if they are not."""
    if view.to_come:
        return f"{view.to_come} of {len(view.frames.reported_runs)} runs are still to come"
    found = view.of(build)
    return edge_reason(found.at_edge(_asked(view, view.held))) if found is not None else ""


def judged(view: SweepView, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts, withheld where they rest on a pick at the edge of its range."""
    why = withheld(view)
    return tuple(withhold(one, why=why) if why else one for one in verdicts)


def count_of(cells: Sequence[Tuned]) -> str:
    return "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
