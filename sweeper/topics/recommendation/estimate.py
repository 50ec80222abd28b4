"""The recommended configuration: chosen on `val`, reported with its evidence on `test`.

The rule: among the cells that have most complete replicates, at the conditions held, the one with
the best mean objective on `val`; of equal ones the cheapest. Conditions are held at one level. The
cells that the choice cannot be told apart from come with it: all that are not worse than another on
`val`, by the table of all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import RATIO, column, is_condition, is_number, name_of, show
from sweeper.analysis.frames import Frames
from sweeper.analysis.intervals import FIRM, LEAST, Estimate, mean_interval, replicates_needed
from sweeper.analysis.measures import Measure, responses
from sweeper.analysis.verdicts import MARGIN
from sweeper.analysis.view import SweepView
from sweeper.errors import InputError, nearest
from sweeper.topics.fairness import estimate as fairness
from sweeper.topics.fairness.estimate import claims_at, edge_reason
from sweeper.topics.goals import estimate as goals
from sweeper.topics.headline import text as words


@dataclass(frozen=True)
class Rival:
    """A cell that the data cannot separate from the chosen one.

    Attributes:
        behind: how far its mean on val is behind the choice's, in the measure's unit.
        needed: about how many replicates would tell them apart; None where that cannot be said.
        seconds: median training time of a run.
    """

    levels: dict[str, Any]
    hash: str
    behind: float
    needed: int | None
    seconds: float


@dataclass(frozen=True)
class Alternative:
    """A cell in the Pareto set, or within noise of it; each objective on val and on test."""

    levels: dict[str, Any]
    hash: str
    front: bool
    val: tuple[tuple[Measure, Estimate], ...]
    test: tuple[tuple[Measure, Estimate], ...]


@dataclass(frozen=True)
class Recommendation:
    """The chosen cell and why.

    Attributes:
        levels: its factors, tuned nuisance values included.
        config: its `data` and `train` blocks, whole.
        held: the conditions at which cells were compared.
        compared: how many cells the choice was made among.
        val: the objective where it was chosen, biased upwards by the choice.
        test: the objective first, then the groups of classes, where it is reported.
        rivals: the nearest first.
        withheld: why the report gives no verdicts on these cells; empty where it does.
        constraints: what every cell that was considered satisfies.
        pareto: with several objectives, the cells that are in the Pareto set or within noise of it.
        remarks: what a reader must know before relying on it, in sentences.
    """

    sweep: str
    question: str
    hash: str
    levels: dict[str, Any]
    config: dict[str, Any]
    held: dict[str, Any]
    compared: int
    rule: str
    val: Estimate
    test: tuple[tuple[Measure, Estimate], ...]
    rivals: tuple[Rival, ...]
    seconds: float
    fingerprint: str
    remarks: tuple[str, ...]
    withheld: str = ""
    constraints: tuple[str, ...] = ()
    pareto: tuple[Alternative, ...] = ()


def recommend(view: SweepView, *, at: Mapping[str, str] | None = None) -> Recommendation:
    """The recommended cell.

    Args:
        at: factor -> level as typed, to be held.

    Raises:
        InputError: no run is complete, a condition is unknown or not named, or there is no
            validation split to choose on.
    """
    frames = view.frames
    if frames.split != "val" and frames.foreign:
        raise InputError(
            f"sweep '{frames.sweep.name}' was imported without numbers on val and on test, and "
            "nothing is chosen on the split that is reported"
        )
    if frames.split != "val":
        raise InputError(
            f"sweep '{frames.sweep.name}' has no validation split (data.val: none), and nothing is "
            "chosen on the test split; run it under another name with data.val: test or pool"
        )
    held = _held(view, at=at or {})
    factors = frames.cells["factors"]
    cells = [cell for cell in view.comparable.cells if _holds(factors[cell], held)]
    objective = replace(view.objective, key=("val", view.objective.name, ""))
    y = _whole(responses(view.frames, measure=objective, cells=cells))
    if not len(y):
        raise InputError(
            f"sweep '{view.frames.sweep.name}' has no complete run to recommend from; "
            "sweeper status says where it stands"
        )
    seconds = _seconds(view.frames)
    few = len(cells) - len(y)
    y = _allowed(view, y)
    chosen = _chosen(y, direction=objective.direction, seconds=seconds)
    tests = [(one, _estimate(view.frames, one, cell=chosen)) for one in view.measures]
    rivals = _rivals(view, y, chosen=chosen, seconds=seconds)
    cell, fair = view.frames.cells.loc[chosen], view.of(fairness.build)
    made = Recommendation(
        sweep=view.frames.sweep.name,
        question=view.frames.sweep.question,
        hash=str(cell["hash"]),
        levels=dict(cell["factors"]),
        config=dict(cell["config"]),
        held=held,
        compared=len(y),
        rule=_rule(view, held=held, cells=len(y)),
        val=mean_interval(y.loc[chosen].to_numpy(dtype=float)),
        test=tuple(tests),
        rivals=tuple(rivals),
        seconds=seconds.get(chosen, math.nan),
        fingerprint=str(view.frames.sweep.facts.get("fingerprint", "")),
        remarks=(),
        withheld=edge_reason(fair.at_edge(cells)) if fair else "",
        constraints=tuple(one.text for one in goals.constraints_of(view.frames.sweep.spec)),
        pareto=tuple(_alternatives(view, held)),
    )
    told = _remarks(view, made, cell=chosen, left_out=few)
    return replace(made, remarks=tuple(told))


def _holds(levels: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    return all(levels.get(path) == level for path, level in held.items())


def _held(view: SweepView, *, at: Mapping[str, str]) -> dict[str, Any]:
    """The level of each condition: as typed, or the strongest imbalance."""
    cells = view.frames.cells.loc[list(view.comparable.cells)]
    asked = list(view.frames.question.factors)
    levels = {path: _levels(column(cells, path=path)) for path in asked}
    for path in at:
        if path not in levels:
            raise InputError(f"--at {path}: no factor of this sweep{nearest(path, levels)}")
    held = {path: _level(path, text, levels[path]) for path, text in at.items()}
    for path in asked if view.grid else ():
        if not is_condition(path) or path in held or len(levels[path]) < 2:
            continue
        if path != RATIO:
            listed = ", ".join(map(show, levels[path]))
            raise InputError(
                f"{path} is a condition, not a choice: name the one that is yours, "
                f"--at {path}={show(levels[path][0])} (there are {listed})"
            )
        held[path] = levels[path][0]
    return held


def _levels(seen: Sequence[Any]) -> list[Any]:
    """Distinct levels, numbers ascending."""
    found = list(dict.fromkeys(seen))
    return sorted(found) if all(is_number(level) for level in found) else found


def _level(path: str, text: str, levels: Sequence[Any]) -> Any:
    for level in levels:
        if text in (show(level), str(level)) or (is_number(level) and _same(text, level)):
            return level
    raise InputError(
        f"--at {path}={text}: no cell has this level{nearest(text, map(show, levels))}"
    )


def _same(text: str, level: float) -> bool:
    try:
        return float(text) == float(level)
    except ValueError:
        return False


def _whole(y: pd.DataFrame) -> pd.DataFrame:
    """The cells that have most complete replicates; none where no run is complete."""
    counts = np.isfinite(y.to_numpy(dtype=float)).sum(axis=1)
    most = int(counts.max()) if len(counts) else 0
    return y[counts == most] if most else y[:0]


def _allowed(view: SweepView, y: pd.DataFrame) -> pd.DataFrame:
    """The cells that satisfy the constraints.

    Raises:
        InputError: none does.
    """
    bounds = goals.constraints_of(view.frames.sweep.spec)
    if not bounds:
        return y
    does = goals.satisfied(view.frames, bounds, cells=list(y.index))
    if not does.all(axis=1).any():
        named = " and ".join(one.text for one in bounds)
        raise InputError(
            f"no cell satisfies {named}, by its mean on val over the replicates: none of {len(y)} "
            f"cells of sweep '{view.frames.sweep.name}' is recommended"
        )
    return y[does.all(axis=1)]


def _chosen(y: pd.DataFrame, *, direction: str, seconds: Mapping[int, float]) -> int:
    sign = 1.0 if direction == "maximize" else -1.0
    means = dict(zip(y.index, sign * y.mean(axis=1), strict=True))
    top = max(means.values())
    return min(
        (cell for cell, mean in means.items() if mean == top),
        key=lambda cell: (seconds.get(cell, math.inf), cell),
    )


def _seconds(frames: Frames) -> dict[int, float]:
    """Median training time of a cell's complete runs."""
    complete = frames.runs.loc[frames.numbers.index]
    medians = complete.groupby("cell")["seconds"].median()
    return dict(zip(map(int, medians.index.to_list()), map(float, medians), strict=True))


def _estimate(frames: Frames, measure: Measure, *, cell: int) -> Estimate:
    return mean_interval(responses(frames, measure=measure, cells=[cell]).to_numpy(dtype=float))


def _rivals(
    view: SweepView, y: pd.DataFrame, *, chosen: int, seconds: Mapping[int, float]
) -> Iterator[Rival]:
    """The cells that are not worse than another on val, but the chosen one."""
    found = view.rule.pairs(y, direction=view.objective.direction)
    own = found.levels.index(chosen)
    left = [at for at in np.flatnonzero(~found.beaten) if at != own]
    for at in sorted(left, key=lambda at: found.mean[own, at]):
        cell = view.frames.cells.loc[found.levels[at]]
        behind = found.estimate(chosen, found.levels[at])
        yield Rival(
            dict(cell["factors"]),
            str(cell["hash"]),
            float(found.mean[own, at]),
            replicates_needed(behind, df=found.told - 1 if found.told < found.n else None),
            seconds.get(found.levels[at], math.nan),
        )


def _alternatives(view: SweepView, held: Mapping[str, Any]) -> Iterator[Alternative]:
    found = view.of(goals.build)
    if found is None or len(found.objectives) < 2:
        return
    for one in sorted(found.candidates, key=lambda one: not one.front):
        cell = view.frames.cells.loc[one.cell]
        levels = dict(cell["factors"])
        if one.near and _holds(levels, held):
            yield Alternative(
                levels,
                str(cell["hash"]),
                one.front,
                tuple(zip(found.objectives, one.chosen, strict=True)),
                tuple(zip(found.objectives, one.reported, strict=True)),
            )


def _rule(view: SweepView, *, held: Mapping[str, Any], cells: int) -> str:
    where = ", ".join(f"{name_of(path)} {show(level)}" for path, level in held.items())
    best_is = "lowest" if view.objective.direction == "minimize" else "highest"
    return (
        f"{best_is} mean {view.objective.title} on the validation split among {cells} cells"
        f"{f' at {where}' if where else ''}; of equal ones the cheapest; the test split had no say"
    )


def _remarks(view: SweepView, made: Recommendation, *, cell: int, left_out: int) -> Iterator[str]:
    if made.compared > 1:
        yield (
            "The best of several flatters itself on the split where it was chosen: go by the test "
            "numbers, and by a replicate of your own if it matters."
        )
    if view.comparable.comparison is Comparison.SCATTER:
        method = view.frames.sweep.spec["search"]["method"]
        yield (
            f"The cells were drawn by {method} and differ in several factors at once: the best of "
            f"{made.compared} is no test of any factor. Run it afresh before you rely on it."
        )
        yield from _mixed(view, made)
    if made.pareto:
        yield (
            f"The sweep has several objectives, and this cell is the best by the first, "
            f"{view.objective.title}: pareto_set lists the cells that may be as good a choice."
        )
    n = made.val.n
    if n < LEAST:
        yield f"n = {n}: no two cells can be told apart, and there is no interval."
    elif n < FIRM:
        yield f"n = {n}: with fewer than {FIRM} replicates this is at best suggestive."
    yield from _chance(view, made)
    if left_out:
        yield f"{left_out} cells have fewer complete replicates and were not considered."
    if unfinished := words.progress(view.frames):
        yield f"The sweep is not done: {unfinished}."
    yield from _fairness(view, held=made.held, cell=cell, withheld=made.withheld)


def _mixed(view: SweepView, made: Recommendation) -> Iterator[str]:
    """Conditions that a design without a grid mixes with choices."""
    cells = view.frames.cells.loc[list(view.comparable.cells)]
    paths = [
        path
        for path in view.frames.question.factors
        if is_condition(path) and path not in made.held and len(set(column(cells, path=path))) > 1
    ]
    if paths:
        names = " and ".join(map(name_of, paths))
        yield f"The cells also differ in {names}, which is a condition, not a choice."


def _chance(view: SweepView, made: Recommendation) -> Iterator[str]:
    mean = made.test[0][1].value
    if view.guessing is not None and mean <= view.guessing + MARGIN:
        yield "Its mean on test is no better than guessing: no cell can be recommended in earnest."


def _fairness(
    view: SweepView, *, held: Mapping[str, Any], cell: int, withheld: str
) -> Iterator[str]:
    """What stood in the way of a fair comparison."""
    fair = view.of(fairness.build)
    if withheld:
        yield f"The report withholds its verdicts on these cells: {withheld}."
    if fair is None:
        return
    for one in fair.at_edge([cell]):
        names = " and ".join(map(name_of, one.edges))
        yield f"Its {names} lies at the edge of what was tried: better may lie beyond it."
    here = {path: level for path, level in held.items() if path in view.held}
    for claim in claims_at(view, axes=fair.nuisance, cells=fair.cells, held=here):
        if claim.path not in held:
            for condition in claim.missing:
                yield f"Comparison of {claim.name}: {condition.reason}"
