"""Minority against majority accuracy, the Pareto set, and a slider for the price of an error.

The slider computes nothing: for each price of a fixed grid the cells that may be best were found by
the analysis; a stop says which marks are filled (its `patch` of the traces of marks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.analysis.factors import show
from sweeper.analysis.stopping_text import plain
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number
from sweeper.drawing.figure import (
    MARKERS,
    Figure,
    Mark,
    Section,
    Slider,
    Stop,
    axis_look,
    count,
    level_look,
    numbers,
    text,
)
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.fairness.text import edges
from sweeper.topics.tradeoff import text as said
from sweeper.topics.tradeoff.estimate import ErrorCost, Spot, TradeOff, build, rows
from sweeper.topics.tradeoff.text import MOST_REGIONS, methods

MOST_LEVELS = 8  # told apart by colour
MOST_ROWS = 400
FRONT = "Pareto set of the means"


def section(view: SweepView) -> Section | None:
    one = view.of(build)
    if one is None:
        return None
    few = len(one.spots) <= MOST_REGIONS
    regions = few and any(spot.region.drawable for spot in one.spots)
    intro = "Each mark is a cell: up is better for the minority, right for the majority."
    if one.prices:
        intro += " Filled marks are the cells that no other cell beats at the price that you set."
    reading = [said.exchange(one), plain(view.rule)]
    if regions:
        reading.append(
            "Outlines are joint 95 % regions of the two means over replicates; one that would pass "
            "0 or 100 % is not drawn."
        )
    if one.prices:
        reading.append(
            "The price is how many majority errors one minority error is worth to you; the 95 % "
            "hold for one price at a time."
        )
    intro = " ".join(part for part in (intro, edges(view)) if part)
    tables = [("The cells", cells(view, one))]
    tables += [("The best cells at each price", prices(view, one))] if one.prices else []
    return Section(
        "exchange",
        "What the majority pays",
        intro,
        (figure(view, one),),
        tuple(tables),
        reading=" ".join(part for part in reading if part),
    )


def figure(view: SweepView, one: TradeOff) -> Figure:
    few = len(one.spots) <= MOST_REGIONS
    groups = _groups(view, one)
    start = len(one.prices) // 2
    first = one.prices[start] if one.prices else None
    data = [_marks(view, group, price=first, labelled=few) for group in groups]
    data += [
        _region(spot, group)
        for group in groups
        for spot in group.spots
        if few and spot.region.drawable
    ]
    slider = Slider(
        "Price of a minority error",
        tuple(_stop(view, price, groups=groups) for price in one.prices),
        start,
    )
    return Figure(
        "exchange",
        f"minority against majority accuracy ({count(spot.minority.n for spot in one.spots)})",
        "Each cell's mean minority accuracy over its mean majority accuracy, with the Pareto set. "
        "The table below holds the same numbers.",
        [*data, *_fronts(one)],
        {
            "xaxis": {"title": {"text": "majority accuracy (%)"}},
            "yaxis": {"title": {"text": "minority accuracy (%)"}},
            "height": 340,
        },
        (
            *[Mark(group.name, group.colour, group.symbol) for group in groups if group.name],
            Mark(FRONT, "@soft", "line-ew", "dot"),
        ),
        slider if one.prices else None,
    )


@dataclass(frozen=True)
class _Group:
    """The cells of one look: of a level of the second factor, or of the axis."""

    name: str
    colour: str
    symbol: str
    spots: tuple[Spot, ...]


def _groups(view: SweepView, one: TradeOff) -> list[_Group]:
    x = view.x if view.x is not None and len(view.x.levels) <= MOST_LEVELS else None
    factor = view.by or x
    if factor is None:
        return [_Group("", "@level0", MARKERS[0], one.spots)]
    groups = []
    for at, level in enumerate(factor.levels):
        spots = tuple(
            spot
            for spot in one.spots
            if view.frames.cells["factors"][spot.cell].get(factor.path) == level
        )
        look = level_look(at) if view.by else axis_look(at, count=len(factor.levels))
        name = f"{factor.name} {show(level)}"
        groups.append(_Group(name, look["colour"], look["symbol"], spots))
    return [group for group in groups if group.spots]


def _marks(
    view: SweepView, group: _Group, *, price: ErrorCost | None, labelled: bool
) -> dict[str, Any]:
    x, spots = view.x, group.spots
    labels = [
        text(show(view.frames.cells["factors"][spot.cell].get(x.path))) if x and labelled else ""
        for spot in spots
    ]
    return {
        "type": "scatter",
        "mode": "markers+text" if labelled else "markers",
        "showlegend": False,
        "name": text(group.name),
        "x": numbers([spot.majority.value for spot in spots]),
        "y": numbers([spot.minority.value for spot in spots]),
        "text": labels,
        "textposition": "top right",
        "customdata": [text(named(view, spot.cell)) for spot in spots],
        "hovertemplate": "%{customdata}<br>majority %{x:.4g}, minority %{y:.4g}<extra></extra>",
        "marker": _filled(group, price),
    }


def _filled(group: _Group, price: ErrorCost | None) -> dict[str, Any]:
    """Filled where the cell may be best at this price; all open where nothing is priced."""
    best = set(price.best) if price else set()
    symbols = [group.symbol + ("" if spot.cell in best else "-open") for spot in group.spots]
    return {"color": group.colour, "size": 11, "symbol": symbols, "line": {"width": 1.6}}


def _stop(view: SweepView, price: ErrorCost, *, groups: Sequence[_Group]) -> Stop:
    names = [named(view, cell) for cell in price.best]
    patch = {at: {"marker": _filled(group, price)} for at, group in enumerate(groups)}
    count = sum(len(group.spots) for group in groups)
    return Stop(number(price.weight, unit=""), said.priced(price, names=names, of=count), patch)


def _fronts(one: TradeOff) -> list[dict[str, Any]]:
    """One a group of cells that are compared with each other."""
    groups = dict.fromkeys(spot.apart for spot in one.spots)
    return [_front([s for s in one.spots if s.pareto and s.apart == key]) for key in groups]


def _front(spots: Sequence[Spot]) -> dict[str, Any]:
    front = sorted(spots, key=lambda spot: spot.majority.value)
    return {
        "type": "scatter",
        "mode": "lines",
        "showlegend": False,
        "hoverinfo": "skip",
        "name": FRONT,
        "x": numbers([spot.majority.value for spot in front]),
        "y": numbers([spot.minority.value for spot in front]),
        "line": {"color": "@soft", "dash": "dot", "width": 1.5},
    }


def _region(spot: Spot, group: _Group) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "showlegend": False,
        "hoverinfo": "skip",
        "name": text(group.name),
        "x": numbers([x for x, _ in spot.region.outline]),
        "y": numbers([y for _, y in spot.region.outline]),
        "line": {"color": group.colour, "width": 1},
        "opacity": 0.6,
    }


def named(view: SweepView, cell: int) -> str:
    """`batch size 8, train ratio 0.05`."""
    levels = view.frames.cells["factors"][cell]
    named = ", ".join(f"{one.name} {show(levels.get(one.path))}" for one in view.factors)
    return named or f"cell {cell}"


def cells(view: SweepView, one: TradeOff) -> Table:
    few = len(one.spots) <= MOST_REGIONS
    rows = [
        (
            named(view, spot.cell),
            str(spot.minority.n),
            number(spot.minority.value),
            interval(spot.minority, signed=False),
            number(spot.majority.value),
            interval(spot.majority, signed=False),
            spot.region.note or ("drawn" if few and spot.region.drawable else "not drawn"),
            "yes" if spot.pareto else "no",
        )
        for spot in one.spots[:MOST_ROWS]
    ]
    left = (
        f"The first {MOST_ROWS} of {len(one.spots)} cells. " if len(one.spots) > MOST_ROWS else ""
    )
    return Table(
        "Minority and majority accuracy of each cell, in points",
        (
            "cell",
            "n",
            "minority",
            "95 % interval",
            "majority",
            "95 % interval",
            "joint region",
            "Pareto",
        ),
        tuple(rows),
        frozenset(range(1, 6)),
        left + "t intervals of each mean alone; joint regions by Hotelling's T squared over n "
        "replicates, from four on; test set fixed.",
    )


def prices(view: SweepView, one: TradeOff) -> Table:
    rows = [
        (
            number(price.weight, unit=""),
            str(len(price.best)),
            "; ".join(named(view, cell) for cell in price.best),
            str(price.n),
            str(price.family),
        )
        for price in one.prices
    ]
    return Table(
        "Cells that may be best at each price",
        ("price", "cells", "which", "n", "family"),
        tuple(rows),
        frozenset({0, 1, 3, 4}),
        "A cell stays unless another beats it within replicates on (w minority + majority) / "
        "(w + 1), one-sided paired t, Bonferroni over the family of other cells. At one price, the "
        "cell that is truly best is among them at least 95 times in 100.",
    )


TOPIC = Topic(
    section, short="Exchange", open=True, methods=methods, tables={"exchange": (build, rows)}
)
