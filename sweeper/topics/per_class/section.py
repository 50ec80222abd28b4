"""Class by level: a heat map with the most frequent class on top, and its numbers."""

from __future__ import annotations

import math
from typing import Any

from sweeper.analysis.factors import show
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.stopping_text import plain
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number, where
from sweeper.drawing.figure import Figure, Section, count, numbers, text
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.fairness.text import edges
from sweeper.topics.per_class import text as said
from sweeper.topics.per_class.estimate import Crossing, OneClass, PerClass, build, rows
from sweeper.topics.per_class.text import methods

MOST = 40  # classes whose fields hold numbers
MOST_ROWS = 700


def section(view: SweepView) -> Section | None:
    one = view.of(build)
    if one is None:
        return None
    held = f" {where(one.held, one.at)}" if one.held else ""
    intro = (
        f"Recall of each class{held}, the most frequent class on top; colours and bold numbers "
        f"show the change from {one.factor.name} {show(one.factor.reference)}."
    )
    crossing, told = said.crossing(one), isinstance(one.crossing, Crossing)
    intro = " ".join(
        part
        for part in (intro, said.worst(view, one), crossing if told else "", edges(view))
        if part
    )
    reading = ("" if told else crossing, "All numbers are from the test split.", plain(view.rule))
    return Section(
        "classes",
        "Class by class",
        intro,
        (heat(one),),
        (("The numbers", table(one)),),
        reading=" ".join(part for part in reading if part),
    )


def heat(one: PerClass) -> Figure:
    """Change in recall from the reference level, row by row a class."""
    change = [_changes(row) for row in one.classes]
    most = max((abs(v) for row in change for v in row if math.isfinite(v)), default=0.0) or 1e-9
    labels = [
        [_label(row.recall[at], moved) for at, moved in enumerate(moves)]
        for row, moves in zip(one.classes, change, strict=True)
    ]
    few = len(one.classes) <= MOST
    rows = [f"{text(row.name)} ({row.samples:.0f})" for row in one.classes]
    held = f" {where(one.held, one.at)}" if one.held else ""
    ns = [estimate.n for row in one.classes for estimate in row.recall]
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": [numbers(row) for row in change],
        "zmin": -most,
        "zmax": most,
        "x": [text(show(level)) for level in one.factor.levels],
        "y": rows,
        "text": labels,
        "hovertemplate": "class %{y}<br>%{text}<extra></extra>",
        "xgap": 2,
        "ygap": 2,
        "colorscale": "@diverging",
        "colorbar": {"title": {"text": "points"}, "thickness": 12},
    }
    if few:
        trace["texttemplate"] = "%{text}"
    return Figure(
        "classes",
        f"Change in recall of each class from {one.factor.name} {show(one.factor.reference)}"
        f"{held} ({count(ns)})",
        f"Heat map of classes by {one.factor.name}{held}, the most frequent class on top, with "
        "training samples in brackets. The table below holds the same numbers.",
        [trace],
        {
            "xaxis": {
                "type": "category",
                "title": {"text": text(one.factor.name)},
                "showgrid": False,
            },
            "yaxis": {
                "type": "category",
                "title": {"text": "class (training samples)"},
                "autorange": "reversed",
                "showgrid": False,
            },
            "height": min(150 + (30 if few else 12) * len(one.classes), 1400),
        },
    )


def _changes(row: OneClass) -> list[float]:
    """From the reference level within replicates, 0 there."""
    return [change.value if change else 0.0 for change in row.changes]


def _label(recall: Estimate, moved: float) -> str:
    if not math.isfinite(recall.value):
        return "no run"
    step = number(moved, signed=True) if moved else ""
    return f"<b>{step}</b> {number(recall.value)}" if step else number(recall.value)


def table(one: PerClass) -> Table:
    """Recall with its interval, and the paired difference with its own."""
    rows = []
    for row in one.classes:
        for level, recall, change in zip(one.factor.levels, row.recall, row.changes, strict=True):
            rows.append(
                (
                    row.name,
                    f"{row.samples:.0f}",
                    show(level),
                    str(recall.n),
                    number(recall.value),
                    interval(recall, signed=False),
                    number(change.value, signed=True) if change else "reference",
                    interval(change) if change else "",
                    str(change.family) if change else "",
                )
            )
    left = f"The first {MOST_ROWS} of {len(rows)} rows; `sweeper export` has all. "
    held = f" {where(one.held, one.at)}" if one.held else ""
    return Table(
        f"Recall of each class in points{held}",
        (
            "class",
            "training samples",
            one.factor.name,
            "n",
            "recall",
            "95 % interval",
            f"change from {show(one.factor.reference)}",
            "interval",
            "family",
        ),
        tuple(rows[:MOST_ROWS]),
        frozenset(range(1, 9)),
        (left if len(rows) > MOST_ROWS else "")
        + "t intervals over n replicates, the test set held fixed. Changes are paired within "
        "replicates, and their intervals simultaneous over the levels of one class (Bonferroni), "
        "not over classes: exploratory.",
    )


TOPIC = Topic(
    section, short="Classes", open=True, methods=methods, tables={"classes": (build, rows)}
)
