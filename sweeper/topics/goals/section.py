"""The Pareto set: a figure of all cells by their objectives, and a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeper.analysis.factors import show
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number
from sweeper.drawing.figure import Figure, Mark, Section, numbers, text, unit_title
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.goals import text as said
from sweeper.topics.goals.estimate import Goals, JudgedCell, build, rows
from sweeper.topics.tradeoff.section import named

MOST_ROWS = 400
MOST_LABELS = 24  # cells of the set that are named in the figure
PARETO, NEAR, BEHIND, BROKEN = (
    "in the Pareto set",
    "within noise of it",
    "behind it",
    "breaks a constraint",
)
LOOKS = {
    PARETO: ("@level0", "circle"),
    NEAR: ("@level0", "diamond"),
    BEHIND: ("@soft", "x"),
    BROKEN: ("@soft", "square"),
}  # fmt: skip
FRONT = "front of the means"


def section(view: SweepView) -> Section | None:
    found = view.of(build)
    if found is None:
        return None
    title = "Pareto set" if len(found.objectives) > 1 else "Constraints"
    reading = (
        "Cells are compared with others under the same conditions and, with constraints, with "
        "those that satisfy them. Within noise: the simultaneous 95 % intervals of all pairs do "
        "not show another cell to be better in every objective."
    )
    others = range(1, len(found.objectives))
    if others:
        reading += (
            " Bars are 95 % t intervals of each mean alone. The dotted line joins the Pareto set; "
            "with conditions, one line for each."
        )
    return Section(
        "goals",
        title,
        said.summary(found),
        tuple(_figure(view, found, other) for other in others),
        ((title, table(view, found)),),
        "panels two" if len(others) > 1 else "",
        reading=reading,
    )


def _look(one: JudgedCell) -> str:
    if not one.allowed:
        return BROKEN
    return PARETO if one.front else NEAR if one.near else BEHIND


def _figure(view: SweepView, found: Goals, other: int) -> Figure:
    """Each cell by the first objective and another, where cells are chosen."""
    first, second = found.objectives[0], found.objectives[other]
    groups = {name: [one for one in found.candidates if _look(one) == name] for name in LOOKS}
    shown = {name: cells for name, cells in groups.items() if cells}
    fronts: dict[tuple[Any, ...], list[JudgedCell]] = {}
    for one in groups[PARETO]:
        fronts.setdefault(one.apart, []).append(one)
    return Figure(
        f"goals-{second.name}",
        f"{second.title} and {first.title}, {found.split} (n = {found.n})",
        f"{said.summary(found)} The table below holds the same numbers.",
        [
            *(_front(cells, other) for cells in fronts.values()),
            *(_marks(view, found, name, cells, other) for name, cells in shown.items()),
        ],
        {
            "xaxis": {"title": {"text": text(unit_title(first))}},
            "yaxis": {"title": {"text": text(unit_title(second))}},
            "height": 340,
        },
        (*(Mark(name, *LOOKS[name]) for name in shown), Mark(FRONT, "@soft", "line-ew", "dot")),
    )


def _marks(
    view: SweepView, found: Goals, name: str, cells: Sequence[JudgedCell], other: int
) -> dict[str, Any]:
    colour, symbol = LOOKS[name]
    x, y = ([one.chosen[at] for one in cells] for at in (0, other))
    bounded = [found.objectives[at].bounded for at in (0, other)]
    labelled = name == PARETO and len(cells) <= MOST_LABELS and view.x is not None
    return {
        "type": "scatter",
        "mode": "markers+text" if labelled else "markers",
        "showlegend": False,
        "name": name,
        "x": numbers([one.value for one in x]),
        "y": numbers([one.value for one in y]),
        "error_x": _bars(x, colour, bounded=bounded[0]),
        "error_y": _bars(y, colour, bounded=bounded[1]),
        "text": [_label(view, one) for one in cells] if labelled else [],
        "textposition": "top center",
        "cliponaxis": False,
        "customdata": [text(named(view, one.cell)) for one in cells],
        "hovertemplate": "%{customdata}<br>%{x:.4g}, %{y:.4g}<extra>%{fullData.name}</extra>",
        "marker": {"color": colour, "symbol": symbol, "size": 10},
    }


def _label(view: SweepView, one: JudgedCell) -> str:
    """The cell's levels of the axis and of the second factor: `8, 0.05`."""
    levels = view.frames.cells["factors"][one.cell]
    named = [show(levels.get(factor.path)) for factor in (view.x, view.by) if factor]
    return text(", ".join(named))


def _bars(values: Sequence[Estimate], colour: str, *, bounded: bool) -> dict[str, Any]:
    """Intervals, cut at 0 and 100 where the measure is; none where there is no interval."""
    least, most = (0.0, 100.0) if bounded else (float("-inf"), float("inf"))
    return {
        "type": "data",
        "symmetric": False,
        "color": colour,
        "thickness": 1.2,
        "width": 3,
        "array": numbers([min(one.high, most) - one.value for one in values]),
        "arrayminus": numbers([one.value - max(one.low, least) for one in values]),
    }


def _front(cells: Sequence[JudgedCell], other: int) -> dict[str, Any]:
    along = sorted(cells, key=lambda one: one.chosen[0].value)
    return {
        "type": "scatter",
        "mode": "lines",
        "showlegend": False,
        "hoverinfo": "skip",
        "name": FRONT,
        "x": numbers([one.chosen[0].value for one in along]),
        "y": numbers([one.chosen[other].value for one in along]),
        "line": {"color": "@soft", "dash": "dot", "width": 1.5},
    }


def table(view: SweepView, found: Goals) -> Table:
    several = len(found.objectives) > 1
    splits = dict.fromkeys((found.split, "test"))
    heads = [
        head
        for split in splits
        for one in found.objectives
        for head in (f"{one.title}, {split}", "95 % interval")
    ]
    order = sorted(found.candidates, key=lambda one: (not one.front, not one.near, not one.allowed))
    return Table(
        "Each cell by every objective and constraint",
        (
            "cell",
            *heads,
            *(one.text for one in found.constraints),
            *(("Pareto", "within noise") if several else ()),
        ),
        tuple(_row(view, found, one, several=several) for one in order[:MOST_ROWS]),
        frozenset(range(1, 1 + len(heads))),
        f"n = {found.n} replicates; t intervals of each mean alone. The Pareto set and the "
        f"constraints are read on {found.split}.",
    )


def _row(view: SweepView, found: Goals, one: JudgedCell, *, several: bool) -> tuple[str, ...]:
    values = [*one.chosen, *(one.reported if found.split != "test" else ())]
    measures = [*found.objectives, *found.objectives]
    cells = [
        text
        for measure, value in zip(measures, values, strict=False)
        for text in (
            number(value.value, unit=measure.unit),
            interval(value, unit=measure.unit, signed=False),
        )
    ]
    marks = [*one.satisfies, *((one.front, one.near) if several else ())]
    return (named(view, one.cell), *cells, *("yes" if mark else "no" for mark in marks))


TOPIC = Topic(section, open=True, methods=said.methods, tables={"goals": (build, rows)})
