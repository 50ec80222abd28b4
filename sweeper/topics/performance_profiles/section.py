"""Performance profiles of a factor's levels over data sets: steps over the score."""

from __future__ import annotations

from typing import Any

from sweeper.analysis.factors import show
from sweeper.analysis.wording import number
from sweeper.drawing.figure import (
    Figure,
    Mark,
    axis_look,
    level_look,
    numbers,
    text,
    unit_title,
)
from sweeper.drawing.table import MOST_ROWS, Table
from sweeper.topics.across.estimate import Across
from sweeper.topics.several.estimate import unit_of


def figure(one: Across, *, unit: str, name: str, ordered: bool) -> Figure | None:
    """A line a level, from all data sets down to none; `ordered`: in the looks of the axis."""
    profiles = one.profiles
    if profiles is None:
        return None
    levels, count = list(profiles.scores), len(profiles.tasks)
    looks = [
        axis_look(at, count=len(levels)) if ordered else level_look(at) for at in range(len(levels))
    ]
    labels = [f"{one.factor.name} {show(level)}" for level in levels]
    side = "below" if profiles.lowest else "above"
    return Figure(
        name,
        f"Performance profiles of {one.factor.name}, by {unit_of(unit)} ({count} data sets)",
        f"For each level of {one.factor.name}, the share of {count} data sets whose mean "
        f"{one.measure.title} is at or {side} the value on the horizontal axis, by "
        f"{unit_of(unit)}. A line that lies higher everywhere is better everywhere. "
        "The table below holds the same numbers.",
        [
            _steps(one, level, label, look)
            for level, label, look in zip(levels, labels, looks, strict=True)
        ],
        {
            "xaxis": {"title": {"text": text(unit_title(one.measure))}},
            "yaxis": {"title": {"text": f"data sets at or {side} it (%)"}, "range": [-4, 104]},
        },
        tuple(Mark(label, **look) for label, look in zip(labels, looks, strict=True)),
    )


def _steps(one: Across, level: Any, label: str, look: dict[str, Any]) -> dict[str, Any]:
    """The line of a level: a mark at each of its scores, from end to end of all levels'."""
    profiles = one.profiles
    if profiles is None:
        raise ValueError("no profiles, no steps")
    ends = profiles.thresholds
    x = sorted({ends[0], *profiles.scores[level], ends[-1]})
    shares = 100 * profiles.shares(level, at=x)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "showlegend": False,
        "name": text(label),
        "x": numbers(x),
        "y": numbers(shares),
        "hovertemplate": "%{x:.4g}: %{y:.0f} % of the data sets<extra>%{fullData.name}</extra>",
        # Just beyond a score its task is lost: first down, then along. Of losses it is won there.
        "line": {
            "color": look["colour"],
            "dash": look["dash"],
            "width": 2,
            "shape": "hv" if profiles.lowest else "vh",
        },
        "marker": {"color": look["colour"], "symbol": look["symbol"], "size": 6},
    }


def table(one: Across, *, unit: str) -> Table | None:
    """The shares of all levels at every score at which one of them steps."""
    profiles = one.profiles
    if profiles is None:
        return None
    at = profiles.thresholds[:MOST_ROWS]
    shares = [profiles.shares(level, at=at) for level in profiles.scores]
    rows = [
        (number(tau, unit=one.measure.unit), *(f"{100 * part[row]:.0f}" for part in shares))
        for row, tau in enumerate(at)
    ]
    side = "below" if profiles.lowest else "above"
    return Table(
        f"Share of {len(profiles.tasks)} data sets (%) with a mean {one.measure.title} at or "
        f"{side} the score, by {unit_of(unit)}",
        ("score", *[f"{one.factor.name} {show(level)}" for level in profiles.scores]),
        tuple(rows),
        frozenset(range(1 + len(profiles.scores))),
        f"Of {', '.join(profiles.tasks)}; a data set's score is the mean over its replicates that "
        "have every level. A description, without an interval.",
    )
