"""What a sweep says by now: its answer, or the best so far, and the time that is left.

A verdict is given where the sweep has ended, or at a look that was planned. In between there is
only what was seen so far: a look that nobody planned would make verdicts too sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.cost import block_seconds
from sweeper.analysis.frames import load
from sweeper.analysis.stopping import Fixed, stages_of
from sweeper.analysis.view import SweepView, view_of
from sweeper.states import FINISHED, RunState
from sweeper.topics.headline.text import lead
from sweeper.topics.headline.unfinished import best

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
    if view.to_come or view.comparable.comparison is Comparison.NOTHING:
        return ""
    sweep = view.frames.sweep
    planned = not isinstance(view.rule, Fixed) and bool(stages_of(sweep))
    if sweep.state in ENDED or planned:
        return lead(view).headline
    return ""


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
