"""Were the cells tuned fairly: the isolation plot, the picks, and the badges of the claims."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from sweeper.analysis.factors import Factor, combination, name_of, show
from sweeper.analysis.measures import words
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import number
from sweeper.drawing.figure import Figure, Mark, Section, axis, axis_look, numbers, text
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.fairness import text as said
from sweeper.topics.fairness.estimate import Fairness, Tuned, build, claim_rows, rows
from sweeper.topics.fairness.text import methods

MOST = 8  # levels of the axis that are told apart by colour
MOST_ROWS = 400

METHOD = (
    "Tuning reads the validation split, on replicates that are not reported. Of the values within "
    "one standard error of the best, the pick is the one nearest to the middle of the range. A "
    "pick at the edge means that better values may lie beyond it."
)


def section(view: SweepView) -> Section | None:
    fair = view.of(build)
    if fair is None:
        return None
    tables = [("The claims", claims(fair))] if fair.claims else []
    tables += [("The picks", picks(view, fair))] if fair.cells else []
    tables += [("Every tuning point", points(view, fair))] if fair.cells else []
    intro = [*said.tuning(fair), *([METHOD] if fair.cells else [])]
    return Section(
        "fairness",
        "Was the comparison fair",
        " ".join(intro),
        tuple(_panels(view, fair)),
        tuple(tables),
        "panels two",
        said.finding(fair),
    )


def _panels(view: SweepView, fair: Fairness) -> Iterator[Figure]:
    """The isolation plot: one panel a level of the second factor."""
    rate = next((one for one in fair.nuisance if one.scale != "category"), None)
    if rate is None:
        return
    factors = view.frames.cells["factors"]
    for at, level in enumerate(view.by.levels if view.by else (None,)):
        cells = [
            one
            for one in fair.cells
            if view.by is None or factors[one.cell].get(view.by.path) == level
        ]
        if cells:
            yield _panel(view, fair, cells, rate=rate, level=level, at=at)


def _panel(
    view: SweepView,
    fair: Fairness,
    cells: Sequence[Tuned],
    *,
    rate: Factor,
    level: Any,
    at: int,
) -> Figure:
    metric = words(view.objective.name)
    unit = " (%)" if view.objective.unit == "points" else ""
    where = f", {view.by.name} {show(level)}" if view.by else ""
    runs = sorted({one.runs for cell in cells for one in cell.candidates})
    each = f"{runs[0]} tuning run{'s' * (runs[0] > 1)}"
    each = each if len(runs) == 1 else f"{runs[0]} to {runs[-1]} tuning runs"
    place = fair.nuisance.index(rate)
    data = [trace for cell in cells for trace in _traces(view, fair, cell, rate=rate, place=place)]
    return Figure(
        f"fairness-{at}",
        f"{metric} on val over {rate.name}{where} ({each} a point)",
        f"Every tuning point of each level{where}: {metric} on the validation split over "
        f"{rate.name}, the pick circled. The table below holds the same numbers.",
        data,
        {"xaxis": axis(rate), "yaxis": {"title": {"text": text(f"{metric} on val{unit}")}}},
        _keys(view),
    )


def _looks(view: SweepView) -> dict[Any, dict[str, Any]]:
    x = view.x
    if x is None or len(x.levels) > MOST:
        return {}
    return {level: axis_look(at, count=len(x.levels)) for at, level in enumerate(x.levels)}


def _keys(view: SweepView) -> tuple[Mark, ...]:
    looks = _looks(view)
    if view.x is None or not looks:
        return (Mark("picked", "@ink", "circle"),)
    return tuple(Mark(f"{view.x.name} {show(level)}", **look) for level, look in looks.items())


def _traces(
    view: SweepView, fair: Fairness, cell: Tuned, *, rate: Factor, place: int
) -> list[dict[str, Any]]:
    """The candidates of one cell as points, joined where they lie on one line; the pick ringed."""
    x = view.x
    level = view.frames.cells["factors"][cell.cell].get(x.path) if x else None
    look = _looks(view).get(level, {"colour": "@soft", "symbol": "circle", "dash": "solid"})
    known = [one for one in cell.candidates if math.isfinite(one.mean)]
    known.sort(key=lambda one: one.levels[place])
    name = f"{x.name} {show(level)}" if x else "cell"
    points = {
        "type": "scatter",
        "showlegend": False,
        "name": text(name),
        "mode": "lines+markers" if len(fair.nuisance) == 1 else "markers",
        "x": numbers([rate.position(one.levels[place]) for one in known]),
        "y": numbers([one.mean for one in known]),
        "text": [_hover(fair, one.levels) for one in known],
        "hovertemplate": "%{y:.4g}<br>%{text}<extra>%{fullData.name}</extra>",
        "line": {"color": look["colour"], "dash": look["dash"], "width": 1.2},
        "marker": {"color": look["colour"], "symbol": look["symbol"], "size": 7},
    }
    chosen = [one for one in known if one.picked]
    ring = {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": text(name),
        "x": numbers([rate.position(one.levels[place]) for one in chosen]),
        "y": numbers([one.mean for one in chosen]),
        "text": ["at the edge" if cell.edges else "inside"] * len(chosen),
        "hovertemplate": "picked, %{text}: %{y:.4g}<extra>%{fullData.name}</extra>",
        "marker": {
            "color": look["colour"],
            "symbol": "circle-open",
            "size": 16,
            "line": {"width": 2.5},
        },
    }
    return [points, ring]


def _hover(fair: Fairness, levels: Sequence[Any]) -> str:
    return "<br>".join(
        f"{text(axis.name)} {text(show(level))}"
        for axis, level in zip(fair.nuisance, levels, strict=True)
    )


def claims(fair: Fairness) -> Table:
    """The five conditions of each primary claim."""
    rows = [
        (claim.name, said.badge(claim), one.name, said.holds(one.holds), one.reason)
        for claim in fair.claims
        for one in claim.conditions
    ]
    return Table(
        "Fairness of each primary claim",
        ("claim about", "badge", "condition", "holds", "why"),
        tuple(rows),
        note="A claim is called fair only when all five hold.",
    )


def _levels(view: SweepView, cell: int) -> tuple[str, ...]:
    paths = [one.path for one in view.factors]
    return tuple(map(show, combination(view.frames.cells["factors"][cell], paths=paths)))


def picks(view: SweepView, fair: Fairness) -> Table:
    """Each cell's pick, its rank, whether it lies at the edge, and how wide the top is."""
    rows = []
    for one in fair.cells[:MOST_ROWS]:
        count, ended = one.trials
        rows.append(
            (
                str(one.cell),
                *_levels(view, one.cell),
                *map(show, one.picks),
                f"{one.rank or 'n/a'} of {count}",
                "yes: " + ", ".join(map(name_of, one.edges)) if one.edges else "no",
                said.near(one),
                f"{one.width:.3g}" if math.isfinite(one.width) else "n/a",
                str(ended),
            )
        )
    head = [
        "cell",
        *[one.name for one in view.factors],
        *[f"{one.name} (picked)" for one in fair.nuisance],
        "rank of the pick",
        "at the edge",
        "within 1 se of the best",
        "width",
        "tuning runs ended",
    ]
    axis = next((one for one in fair.nuisance if one.scale == "log2"), None)
    note = f"Width in doublings of {axis.name}. " if axis else ""
    return Table(
        "Tuning of each cell",
        tuple(head),
        tuple(rows),
        frozenset(range(len(head))),
        note + "Ranks are of the means on val; the pick is the middle one of those within one "
        "standard error (se) of the best. A single run of a value has no standard error.",
    )


def points(view: SweepView, fair: Fairness) -> Table:
    """Every candidate with its mean on val."""
    unit = view.objective.unit
    rows = [
        (
            str(cell.cell),
            *_levels(view, cell.cell),
            *map(show, one.levels),
            number(one.mean, unit=unit),
            str(one.rank or "n/a"),
            f"{len(one.values)} of {one.runs}",
            "picked" if one.picked else "",
        )
        for cell in fair.cells
        for one in cell.candidates
    ]
    head = [
        "cell",
        *[one.name for one in view.factors],
        *[one.name for one in fair.nuisance],
        f"{words(view.objective.name)} on val",
        "rank",
        "runs complete",
        "pick",
    ]
    note = "" if len(rows) <= MOST_ROWS else f"The first {MOST_ROWS} of {len(rows)} points."
    return Table(
        "Every tuning point",
        tuple(head),
        tuple(rows[:MOST_ROWS]),
        frozenset(range(len(head) - 1)),
        note,
    )


TOPIC = Topic(
    section,
    short="Fairness",
    methods=methods,
    tables={
        "tuning": (build, rows),
        "fairness": (build, claim_rows),
    },
)
