"""Importance by a model where the cells are no grid: alone, and with interactions."""

from __future__ import annotations

from typing import Any

from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld
from sweeper.analysis.wording import percent
from sweeper.drawing.figure import Figure, Mark, Section, count, numbers, text
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.importance.estimate import Importance, build, rows
from sweeper.topics.importance.text import important, methods

TITLE = "How important each factor is"


def section(view: SweepView) -> Section | None:
    one = view.of(build)
    if one is None:
        return None
    if isinstance(one, Withheld):
        return Section("importance", TITLE, one.reason, finding=f"Not computed. {one.reason}")
    return Section(
        "importance",
        TITLE,
        " ".join(important(one)),
        (_figure(one),),
        (("The numbers", table(one)),),
        finding=next(important(one)),
    )


def _figure(one: Importance) -> Figure:
    names = [text(share.factor.name) for share in one.shares]
    alone, total = [share.alone for share in one.shares], [share.total for share in one.shares]
    said = "; ".join(
        f"{share.factor.name}: {percent(share.alone)} alone, {percent(share.total)} in all"
        for share in one.shares
    )
    return Figure(
        "importance",
        f"share of the model's variance in {one.measure.title}: {one.method} "
        f"({one.cells} cells, {count([one.n])} a cell)",
        f"Sobol indices of a {one.model}, {one.method}: {said}.",
        [
            _dots(
                total,
                names,
                "with interactions",
                {"color": "@level1", "symbol": "diamond-open", "size": 13, "line": {"width": 2}},
            ),
            _dots(alone, names, "alone", {"color": "@level0", "symbol": "circle", "size": 8}),
        ],
        {
            "xaxis": {
                "title": {"text": "share of the model's<br>variance (%)"},
                "range": [-4, 104],
            },
            "yaxis": {
                "type": "category",
                "categoryorder": "array",
                "categoryarray": names[::-1],
                "range": [-0.6, len(names) - 0.4],
            },
            "height": 120 + 34 * len(names),
        },
        (Mark("alone", "@level0", "circle"), Mark("with interactions", "@level1", "diamond")),
    )


def _dots(
    values: list[float], names: list[str], said: str, marker: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": said,
        "x": numbers([100 * value for value in values]),
        "y": names,
        "marker": marker,
        "hovertemplate": "%{y}: %{x:.0f} %<extra>%{fullData.name}</extra>",
    }


def table(one: Importance) -> Table:
    """The indices, and how good the model is."""
    rows = tuple(
        (
            share.factor.name,
            percent(share.alone),
            percent(share.total),
            str(one.cells),
            str(one.n),
            percent(one.r2),
            one.method,
        )
        for share in one.shares
    )
    return Table(
        f"Importance for {one.measure.title}, by a {one.model}",
        (
            "factor",
            "alone",
            "with interactions",
            "cells",
            "n a cell",
            "variance predicted",
            "interval",
        ),
        rows,
        frozenset(range(1, 6)),
        "Sobol indices of a model of the cells' means, the replicates' own offsets taken out; "
        "factors drawn evenly over their ranges and levels. Shares with interactions count an "
        "interaction once for each of its factors, so they may add up to more than 100 %. "
        "Variance predicted: of cells that the model was not fitted to.",
    )


TOPIC = Topic(section, short="Factors", methods=methods, tables={"importance": (build, rows)})
