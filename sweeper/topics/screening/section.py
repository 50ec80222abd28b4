"""The screening of many cells: each with the rule that dropped it, or with its fresh replicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeper.analysis.factors import name_of, show
from sweeper.analysis.measures import words
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import number
from sweeper.drawing.figure import Figure, Mark, Section, count, numbers, text
from sweeper.drawing.table import MOST_ROWS, Table
from sweeper.topics.base import Topic
from sweeper.topics.screening import text as wording
from sweeper.topics.screening.estimate import Screened, ScreenedCell, build, rows

MOST_DRAWN = 40
FRESH, STAYS, GONE = "fresh, 95 % t interval", "screening, stays", "screening, goes"
METHOD = (
    "A cell went on to fresh replicates unless another beat it on the validation split within the "
    "screening replicates (one-sided paired t, Bonferroni)."
)


def section(view: SweepView) -> Section | None:
    one = view.of(build)
    if one is None:
        return None
    title = "Which cells screening left"
    if not one.rows:
        return Section("screening", title, wording.headline(one))
    tables = (("The numbers", table(one)),)
    return Section("screening", title, wording.EXPLORATORY, (figure(one),), tables, reading=METHOD)


def figure(one: Screened) -> Figure:
    """A row a cell: its screening replicates as points, its fresh mean with the interval."""
    rows = one.rows[:MOST_DRAWN]
    names = [text(wording.levels(row.levels)) for row in rows]
    unit = " (%)" if one.measure.unit == "points" else ""
    which = f"the first {len(rows)} of {len(one.rows)} cells" if len(one.rows) > len(rows) else ""
    said = "; ".join(f"{wording.levels(row.levels)}: {wording.fate(row)}" for row in rows)
    return Figure(
        "screening",
        f"{words(one.measure.name)}: each screening replicate on val, and the fresh "
        f"mean on test ({', '.join(filter(None, (which, count([one.screen]))))} in screening)",
        f"What screening left: {said}.",
        [_points(rows, names, stays=False), _points(rows, names, stays=True), _means(rows, names)],
        {
            "xaxis": {"title": {"text": f"{words(one.measure.name)}{unit}"}},
            "yaxis": {
                "type": "category",
                "categoryorder": "array",
                "categoryarray": names[::-1],
                "range": [-0.6, len(names) - 0.4],
            },
            "height": 120 + 26 * len(names),
        },
        (
            Mark(FRESH, "@level0", "circle"),
            Mark(STAYS, "@level1", "diamond"),
            Mark(GONE, "@soft", "x"),
        ),
    )


def _points(rows: Sequence[ScreenedCell], names: Sequence[str], *, stays: bool) -> dict[str, Any]:
    mine = [
        (name, value)
        for name, row in zip(names, rows, strict=True)
        for value in row.values
        if row.stays is stays
    ]
    look = ("@level1", "diamond-open") if stays else ("@soft", "x")
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": STAYS if stays else GONE,
        "x": numbers([value for _, value in mine]),
        "y": [name for name, _ in mine],
        "marker": {"color": look[0], "symbol": look[1], "size": 8},
    }


def _means(rows: Sequence[ScreenedCell], names: Sequence[str]) -> dict[str, Any]:
    mine = [(name, row.fresh) for name, row in zip(names, rows, strict=True) if row.fresh]
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": FRESH,
        "x": numbers([one.value for _, one in mine]),
        "y": [name for name, _ in mine],
        "marker": {"color": "@level0", "symbol": "circle", "size": 10},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "color": "@level0",
            "thickness": 1.5,
            "width": 4,
            "array": numbers([one.high - one.value for _, one in mine]),
            "arrayminus": numbers([one.value - one.low for _, one in mine]),
        },
    }


def table(one: Screened) -> Table:
    """Every cell, those that looked best in screening first."""
    paths = list(dict.fromkeys(path for row in one.rows for path in row.levels))
    unit = "%" if one.measure.unit == "points" else "its own unit"
    head = [
        *map(name_of, paths),
        "screening",
        "in screening (val)",
        "n (val)",
        "each replicate",
        "fresh mean (test)",
        "95 % interval",
        "n (test)",
        "may be the best",
    ]
    more = f"The first {MOST_ROWS} of {len(one.rows)} cells; `sweeper export` has all. "
    return Table(
        f"Screening: {words(one.measure.name)}, in {unit}",
        tuple(head),
        tuple(_cells(one, row, paths) for row in one.rows[:MOST_ROWS]),
        frozenset(range(len(paths) + 1, len(head) - 1)),
        (more if len(one.rows) > MOST_ROWS else "")
        + f"In screening: the mean over {one.screen} replicates, which flatters whoever looks best "
        f"and so has no interval. Fresh: a t interval over {one.confirm} replicates that the "
        "screening has not seen, each on its own, test set fixed. May be the best: no other cell "
        "that was left beats it on the fresh replicates.",
    )


def _cells(one: Screened, row: ScreenedCell, paths: list[str]) -> tuple[str, ...]:
    unit, fresh = one.measure.unit, row.fresh
    sure = {None: "n/a", True: "yes", False: "no"}[row.may_be_best]
    values = ", ".join(number(value, unit=unit) for value in row.values) or "n/a"
    low, high = (fresh.low, fresh.high) if fresh and fresh.known else (None, None)
    return (
        *[show(row.levels[path]) if path in row.levels else "n/a" for path in paths],
        wording.fate(row),
        number(row.mean, unit=unit),
        str(len(row.values)),
        values,
        number(fresh.value, unit=unit) if fresh else "n/a",
        f"{number(low, unit=unit)} to {number(high, unit=unit)}"
        if low is not None and high is not None
        else "n/a",
        str(fresh.n) if fresh else "0",
        sure,
    )


TOPIC = Topic(
    section, short="Screening", open=True, early=True, tables={"screening": (build, rows)}
)
