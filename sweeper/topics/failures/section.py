"""Runs that failed, were pruned or collapsed, by name."""

from __future__ import annotations

import pandas as pd

from sweeper.analysis.factors import show
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import joined, number
from sweeper.drawing.figure import Section, folds
from sweeper.drawing.redact import scrub
from sweeper.drawing.table import MOST_ROWS, Table, reached, tabulate
from sweeper.states import RunState
from sweeper.topics.base import Topic
from sweeper.topics.failures.estimate import build


def section(view: SweepView) -> Section | None:
    listed, fallen = failed(view), collapsed(view)
    if listed is None and fallen is None:
        return None
    behind = folds(
        ("", listed),
        ("Collapsed runs" if listed else "", fallen),
        ("Share of runs that fail, by cell", shares(view)),
    )
    title = "Failures, pruned and collapsed runs"
    return Section("failures", title, "", tables=behind, finding=_finding(view))


def _finding(view: SweepView) -> str:
    """How many runs failed, were pruned, or collapsed; a run may collapse on several measures."""
    states = view.frames.reported_runs["state"]
    fallen = {(one.cell, one.replicate) for one in view.of(build).collapses}
    counts = {
        "failed": int((states == RunState.FAILED).sum()),
        "pruned": int((states == RunState.PRUNED).sum()),
        "collapsed": len(fallen),
    }
    told = joined([f"{count} {what}" for what, count in counts.items() if count])
    return f"Of {len(states)} runs: {told}."


def failed(view: SweepView) -> Table | None:
    """Each failed or pruned run by name, with its reason."""
    runs = view.frames.reported_runs
    ended = runs[runs["state"].isin([RunState.FAILED, RunState.PRUNED])]
    if not len(ended):
        return None
    rows = [_failure_row(view, run) for _, run in ended.iterrows()]
    return tabulate(
        "Failed and pruned runs",
        rows=rows,
        words_in=99,
        head=["cell", "levels", "replicate", "state", "reason", "when", "message"],
    )


def _failure_row(view: SweepView, run: pd.Series) -> list[str]:
    levels = view.frames.cells["factors"][run["cell"]]
    named = ", ".join(f"{one.name} {show(levels.get(one.path))}" for one in view.factors)
    last = [line for line in (run["error"] or "").strip().splitlines() if line.strip()]
    message = scrub(last[-1])[:300] if last else ""
    reason, when = str(run["ending"]).replace("_", " "), reached(view.frames, run["epoch"])
    return [
        str(run["cell"]),
        named,
        str(run["replicate"]),
        str(run["state"]),
        reason,
        when,
        message,
    ]


def collapsed(view: SweepView) -> Table | None:
    """Each collapsed run by name."""
    if not view.of(build).collapses:
        return None
    rows = [
        [
            str(one.cell),
            str(one.replicate),
            one.measure.title,
            *[number(part, unit=one.measure.unit) for part in (one.value, one.mean, one.without)],
        ]
        for one in view.of(build).collapses[:MOST_ROWS]
    ]
    return tabulate(
        "Collapsed runs",
        rows=rows,
        words_in=3,
        head=[
            "cell",
            "replicate",
            "measure",
            "value",
            "mean of the cell",
            "mean of its runs that did not collapse",
        ],
        note="At or below chance, or 5 robust standard deviations worse than the median of the "
        "cell. They are kept in every mean.",
    )


def shares(view: SweepView) -> Table | None:
    """The share of failed runs a cell, where any run failed."""
    if not any(one.failed for one in view.of(build).shares):
        return None
    rows = [
        [str(one.cell), f"{one.failed} of {one.ended}", f"{one.low:.0%} to {one.high:.0%}"]
        for one in view.of(build).shares
    ]
    return tabulate(
        "Share of runs that fail",
        head=["cell", "failed", "95 % interval"],
        rows=rows,
        words_in=1,
        note="Exact (Clopper-Pearson), each on its own; one-sided where none failed.",
    )


TOPIC = Topic(section, short="Failures", early=True)
