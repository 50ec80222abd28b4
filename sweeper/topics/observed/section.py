"""What the observers measured: a figure for each number, minority beside majority."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from sweeper.analysis.factors import show
from sweeper.analysis.measures import words
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number
from sweeper.drawing.figure import (
    THE_NUMBERS,
    Figure,
    Mark,
    Section,
    axis,
    axis_look,
    bars,
    count,
    level_look,
    numbers,
    text,
)
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.observed.estimate import (
    QUOTIENTS,
    TARGETS,
    ObservedNumber,
    ObservedNumbers,
    build,
    rows,
)
from sweeper.topics.observed.text import finding, methods

DASH = {"group:minority": "solid", "group:majority": "dot"}
OPEN = 4  # figures that are not folded
MOST_ROWS = 400


def section(view: SweepView) -> Section | None:
    found = view.of(build)
    if found is None:
        return None
    intro = (
        "Numbers that the observers of the spec measured at the end of each run, for the minority "
        "beside the majority."
    )
    reading = (
        "Points are means over complete runs with 95 % t intervals; a quotient divides means over "
        "runs. Low quantiles are in the table. All of it is exploratory: no verdict rests on it."
    )
    return Section(
        "observed",
        "What the observers saw",
        intro,
        tuple(figures(found)),
        ((THE_NUMBERS, table(found)),),
        "panels two",
        finding=finding(found),
        reading=reading,
    )


def figures(found: ObservedNumbers) -> list[Figure]:
    """A figure for each number, those of the test split first; quantiles are in the table."""
    shown = [one for one in found.numbers if not one.metric.endswith("_q10")]
    grouped = [list(group) for _, group in groupby(shown, key=lambda one: (one.split, one.metric))]
    grouped.sort(key=lambda group: (group[0].split != "test", group[0].metric not in QUOTIENTS))
    drawn = [_figure(found, group, folded=at >= OPEN) for at, group in enumerate(grouped)]
    return [
        *(_course(found, metric) for metric in dict.fromkeys(c.metric for c in found.courses)),
        *drawn,
    ]


def _course(found: ObservedNumbers, metric: str) -> Figure:
    """A quotient along the training: the minority solid, the majority dotted, a colour a level."""
    factor = found.factor
    looks = {
        level: axis_look(at, count=len(factor.levels)) for at, level in enumerate(factor.levels)
    }
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": text(f"{factor.name} {show(one.level)}, {TARGETS[one.target]}"),
            "legendgroup": text(f"{factor.name} {show(one.level)}"),
            "x": numbers(one.epochs),
            "y": numbers(one.values),
            "hovertemplate": "%{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
            "line": {"color": looks[one.level]["colour"], "dash": DASH[one.target], "width": 2},
            "marker": {
                "color": looks[one.level]["colour"],
                "symbol": looks[one.level]["symbol"],
                "size": 7,
            },
        }
        for one in found.courses
        if one.metric == metric and one.target in DASH
    ]
    name = words(metric)
    return Figure(
        f"observed-course-{metric}".replace("_", "-"),
        f"{name} along the training: minority solid, majority dotted",
        f"{name} at each evaluation, for each {factor.name}: the minority's as a solid line, the "
        "majority's as a dotted one.",
        data,
        {
            "xaxis": {"title": {"text": "evaluation at epoch"}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": text(name)}, "scale": "positive"},
        },
        tuple(Mark(f"{factor.name} {show(level)}", **look) for level, look in looks.items()),
    )


def _figure(found: ObservedNumbers, group: Sequence[ObservedNumber], *, folded: bool) -> Figure:
    first, factor = group[0], found.factor
    looks = [(one, level_look(at)) for at, one in enumerate(group)]
    name = f"{words(first.metric)} on {first.split}"
    ns = [mean.n for one in group for mean in one.means]
    return Figure(
        f"observed-{first.split}-{first.metric}".replace("_", "-"),
        f"{name} ({count(ns)})",
        f"{name} over {factor.name}, for minority, majority and all classes. The table below holds "
        "the same numbers.",
        [_trace(found, one, look) for one, look in looks],
        {"xaxis": axis(factor), "yaxis": {"title": {"text": text(words(first.metric))}}},
        tuple(Mark(TARGETS[one.target], **look) for one, look in looks),
        folded=folded,
    )


def _trace(found: ObservedNumbers, one: ObservedNumber, look: dict[str, Any]) -> dict[str, Any]:
    means = pd.DataFrame(
        {
            "mean": [mean.value for mean in one.means],
            "low": [mean.low for mean in one.means],
            "high": [mean.high for mean in one.means],
        }
    )
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": TARGETS[one.target],
        "x": numbers(found.factor.positions),
        "y": numbers(means["mean"]),
        "error_y": bars(means, bounded=False, colour=look["colour"]),
        "hovertemplate": "%{y:.4g}<extra>%{fullData.name}</extra>",
        "line": {"color": look["colour"], "dash": look["dash"], "width": 2},
        "marker": {"color": look["colour"], "symbol": look["symbol"], "size": 8},
    }


def table(found: ObservedNumbers) -> Table:
    """Each number with its interval, and its paired change with its own."""
    lines = [
        (
            words(one.metric),
            one.split,
            TARGETS[one.target],
            show(level),
            str(mean.n),
            number(mean.value, unit=""),
            interval(mean, unit="", signed=False),
            number(change.value, unit="", signed=True) if change else "",
            interval(change, unit="") if change else "",
        )
        for one in found.numbers
        for level, mean, change in zip(found.factor.levels, one.means, one.changes, strict=True)
    ]
    left = f"The first {MOST_ROWS} of {len(lines)} rows; `sweeper export` has all. "
    return Table(
        "What was observed at the end of the runs",
        (
            "number",
            "split",
            "classes",
            found.factor.name,
            "n",
            "mean",
            "95 % interval",
            f"change from {show(found.factor.reference)}",
            "interval",
        ),
        tuple(lines[:MOST_ROWS]),
        frozenset(range(4, 9)),
        (left if len(lines) > MOST_ROWS else "")
        + "t intervals over n replicates. Changes are paired within replicates, and intervals "
        "simultaneous over the levels of one number, not over numbers: exploratory.",
    )


TOPIC = Topic(section, short="Observed", methods=methods, tables={"observed": (build, rows)})
