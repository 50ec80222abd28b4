"""What a sweep says by now: its answer, or the best so far, and the time that is left.

A verdict is given where the sweep has ended, or at a look that was planned. In between there is
only what was seen so far: a look that nobody planned would make verdicts too sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.cost import block_seconds
from sweeper.analysis.factors import name_of, show
from sweeper.analysis.frames import load
from sweeper.analysis.measures import REPORTED, responses
from sweeper.analysis.stopping import Fixed, stages_of
from sweeper.analysis.view import SweepView, view_of
from sweeper.analysis.wording import FIXED, joined, number
from sweeper.states import FINISHED, RunState
from sweeper.topics.headline.text import lead

if TYPE_CHECKING:
    from sweeper.analysis.frames import Frames
    from sweeper.store.store import Store

ENDED = frozenset({"complete", "halted"})


def so_far(store: Store, name: str) -> dict[str, Any]:
    """What `status` adds to the counts of a sweep.

    answer: the headline of the report, empty before it may be given. best: the best cell so far in
    words, empty before a run is complete. seconds_left, and its range: of the runs that are
    planned, None where nothing says.
    """
    frames = load(store, name, last_only=True)
    view = view_of(frames)
    return {"answer": answer(view), "best": best(view), **_left(frames)}


def answer(view: SweepView) -> str:
    """The headline, once the sweep has ended or a planned look has been taken; else empty."""
    if view.comparable.comparison is Comparison.NOTHING:
        return ""
    sweep, runs = view.frames.sweep, view.frames.reported_runs
    whole = bool(len(runs)) and set(runs["state"]) <= FINISHED
    planned = not isinstance(view.rule, Fixed) and bool(stages_of(sweep))
    if sweep.state in ENDED or (whole and planned):
        return lead(view).headline
    return ""


def best(view: SweepView) -> str:
    """`minority accuracy 81.4 % at batch size 2, train ratio 1 (n = 3)`: a point, no verdict."""
    frames, objective = view.frames, view.objective
    cells = list(frames.reported.index)
    y = responses(frames, measure=objective, cells=cells).to_numpy(dtype=float)
    n = np.isfinite(y).sum(axis=1)
    if not n.any():
        return ""
    means = np.nansum(y, axis=1) / np.where(n > 0, n, np.nan)
    at = int(np.nanargmin(means) if objective.direction == "minimize" else np.nanargmax(means))
    levels = frames.cells["factors"][cells[at]]
    asked = frames.question.factors
    named = [f"{name_of(path)} {show(levels[path])}" for path in asked if path in levels]
    sign = f"{FIXED}%" if objective.bounded else ""
    where = f" at {joined(named)}" if named else ""
    split = "" if frames.split == REPORTED else f" on {REPORTED}"
    value = number(float(means[at]), unit=objective.unit)
    return f"{objective.title}{split} {value}{sign}{where} (n{FIXED}={FIXED}{n[at]})"


def _left(frames: Frames) -> dict[str, float | None]:
    """The time for the runs that are open, by what the complete ones took here."""
    runs = frames.reported_runs
    open_runs = int((~runs["state"].isin(list(FINISHED))).sum())
    names = ("seconds_left", "seconds_left_low", "seconds_left_high")
    nothing: dict[str, float | None] = dict.fromkeys(names)
    if not open_runs:
        return nothing
    each = block_seconds(frames)
    complete = runs[runs["state"] == RunState.COMPLETE]
    seconds = complete["seconds"].to_numpy(dtype=float)
    seconds = seconds[np.isfinite(seconds) & (seconds > 0)]
    if each is None or not len(seconds):
        return nothing
    about = each * open_runs / max(len(frames.reported), 1)
    low, high = np.quantile(seconds, [0.25, 0.75]) / seconds.mean()
    return {
        "seconds_left": about,
        "seconds_left_low": about * min(float(low), 1.0),
        "seconds_left_high": about * max(float(high), 1.0),
    }
