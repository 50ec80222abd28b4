"""A sweep whose runs have not all ended: what there is and what is to come, and no verdict.

A look that nobody planned would make verdicts too sure (statistics 3.3), so levels are described.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import name_of, show
from sweeper.analysis.measures import REPORTED, responses
from sweeper.analysis.stopping import GroupSequential
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, joined, number, plural
from sweeper.states import FINISHED, RunState
from sweeper.topics.goals import estimate as goals

MOST = 8  # levels whose means stand in a sentence


def headline(view: SweepView) -> str:
    """What there is, in a sentence that begins with "So far"."""
    runs = view.frames.reported_runs
    if not len(runs):
        tried = view.frames.runs["state"].isin(list(FINISHED))
        return (
            "So far no cell is reported: the runs that choose its settings come first "
            f"({int(tried.sum())} of {len(tried)} have ended)."
        )
    complete = int((runs["state"] == RunState.COMPLETE).sum())
    if not complete:
        cells = len(view.frames.reported)
        return f"So far no run is complete: {len(runs)} runs of {cells} cells are planned."
    if view.comparable.comparison is not Comparison.PAIRED or view.question is None:
        return f"So far {complete} of {len(runs)} runs are complete."
    if not view.blocks:
        return (
            f"So far {complete} of {len(runs)} runs are complete, and no replicate has every "
            f"{view.question.name}{_where(view)} yet."
        )
    return _means(view)


def _where(view: SweepView) -> str:
    return f" at {view.condition}" if view.condition else ""


def _means(view: SweepView) -> str:
    """The means of the complete blocks at each level of the question."""
    factor, objective = view.question, view.objective
    assert factor is not None  # noqa: S101  the caller looked
    y = view.levels(objective, factor=factor).dropna(axis=1)
    sign = f"{FIXED}%" if objective.bounded else ""
    told = [
        f"{number(mean, unit=objective.unit)}{sign} at {show(level)}"
        for level, mean in zip(factor.levels, y.mean(axis=1), strict=True)
    ]
    count = "1 complete replicate" if view.blocks == 1 else f"{view.blocks} complete replicates"
    start = f"So far, over {count}{_where(view)}"
    if len(told) > MOST:
        return f"{start}: {objective.title} of {len(told)} {plural(factor.name)}, in the figure."
    told[0] = told[0].replace(" at ", f" at {factor.name} ", 1)
    return f"{start}: {objective.title} is {joined(told)}."


def more(view: SweepView) -> Iterator[str]:
    """The best cell so far, and when there will be verdicts."""
    if not view.blocks and (found := best(view)):
        yield f"Best so far: {found}."
    if view.comparable.comparison is Comparison.SCATTER:
        yield "The runs describe; the cells are read when all have ended."
    elif isinstance(view.rule, GroupSequential):
        looks = joined(list(map(str, view.rule.looks)))
        yield f"Verdicts are given at the planned looks only, at {looks} replicates."
    else:
        yield "Verdicts are given when all planned runs have ended."


def best(view: SweepView) -> str:
    """`minority accuracy 81.4 % at batch size 2, train ratio 0.05 (n = 3)`: no verdict.

    Of a grid, among the cells where the question asks: no level of a condition is best. With
    constraints, among the cells that satisfy them by now.
    """
    frames, objective = view.frames, view.objective
    cells = list(view.asked) if view.grid else list(frames.reported.index)
    y = responses(frames, measure=objective, cells=cells).to_numpy(dtype=float)
    n = np.isfinite(y).sum(axis=1)
    if not n.any():
        return ""
    bounds = goals.constraints_of(frames.sweep.spec)
    within = goals.satisfied(frames, bounds, cells=cells).all(axis=1).to_numpy()
    y = np.where(within[:, None], y, np.nan)
    n = np.isfinite(y).sum(axis=1)
    named_bounds = joined([one.text for one in bounds])
    if not n.any():
        return f"no cell satisfies {named_bounds}"
    means = np.nansum(y, axis=1) / np.where(n > 0, n, np.nan)
    at = int(np.nanargmin(means) if objective.direction == "minimize" else np.nanargmax(means))
    levels = frames.cells["factors"][cells[at]]
    asked = frames.question.factors
    named = [f"{name_of(path)} {show(levels[path])}" for path in asked if path in levels]
    sign = f"{FIXED}%" if objective.bounded else ""
    where = f" at {joined(named)}" if named else ""
    split = "" if frames.split == REPORTED else f" on {REPORTED}"
    value = number(float(means[at]), unit=objective.unit)
    among = f", of the cells that satisfy {named_bounds}" if bounds else ""
    return f"{objective.title}{split} {value}{sign}{where} (n{FIXED}={FIXED}{n[at]}){among}"
