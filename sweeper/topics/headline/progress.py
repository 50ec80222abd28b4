"""How far an unfinished sweep has come: the complete runs of those planned, at each level."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sweeper.analysis.comparable import Comparison
from sweeper.analysis.factors import combination, show
from sweeper.analysis.view import SweepView
from sweeper.drawing.table import Table, tabulate
from sweeper.states import RunState


def table(view: SweepView) -> Table | None:
    """The complete runs of those planned, at each level; None where the cells have no axis."""
    x, runs = view.x, view.frames.reported_runs
    if not view.to_come or x is None or view.comparable.comparison is Comparison.SCATTER:
        return None
    planned: Counter[tuple[Any, ...]] = Counter()
    done: Counter[tuple[Any, ...]] = Counter()
    paths = [one.path for one in (view.by, x) if one]
    for cell, state in zip(runs["cell"], runs["state"], strict=True):
        at = combination(view.frames.cells["factors"][cell], paths=paths)
        planned[at] += 1
        done[at] += state == RunState.COMPLETE
    rows = []
    for level in view.by.levels if view.by else ("runs",):
        row = [(level, one) if view.by else (one,) for one in x.levels]
        rows.append([show(level), *[f"{done[at]} of {planned[at]}" for at in row]])
    head = [view.by.name if view.by else "", *map(show, x.levels)]
    return tabulate(f"Runs complete, by {x.name}", head=head, rows=rows, words_in=1)
