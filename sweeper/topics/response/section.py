"""The response curve: one panel a measure, and its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis.factors import Factor, show
from sweeper.analysis.intervals import LEAST
from sweeper.analysis.measures import Measure, goal
from sweeper.analysis.stopping_text import plain
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, number
from sweeper.drawing.figure import (
    THE_NUMBERS,
    Figure,
    Mark,
    Section,
    axis,
    bars,
    beyond,
    count,
    folds,
    gap,
    level_look,
    numbers,
    text,
    unit_title,
)
from sweeper.drawing.table import Table, span, tabulate
from sweeper.topics.base import Topic
from sweeper.topics.response.estimate import build

MOST = 4  # panels
NONE_YET = "none yet"
NEAR = 0.35  # of the range: a chance level as near as that is drawn


def objective_panel(view: SweepView, *, order: Sequence[Any], shared: list[float] | None) -> Figure:
    """The objective's panel; `order`: levels of the lines in all sweeps, for one look in all."""
    return _response(view, view.objective, span=shared, order=order)


def panels(view: SweepView) -> list[Figure]:
    """One panel a measure: means with intervals joined by lines, raw replicates as points."""
    if view.x is None or not len(view.of(build).curve):
        return []
    drawn = [one for one in view.measures if one.role != "contrast"][:MOST]
    order = view.by.levels if view.by else (None,)
    return [_response(view, one, span=_span(view, one), order=order) for one in drawn]


def objective_range(view: SweepView) -> list[float] | None:
    """The vertical range of the objective's panel."""
    return _span(view, view.objective)


def _span(view: SweepView, measure: Measure) -> list[float] | None:
    """The vertical range around the data of a measure in points, with a chance level near them."""
    if not measure.bounded:
        return None
    points, means = (
        rows[rows["measure"] == measure.name]
        for rows in (view.of(build).points, view.of(build).curve)
    )
    seen = np.concatenate([points["value"], means["low"], means["high"]])
    seen = seen[np.isfinite(seen)].clip(0, 100)
    if not len(seen):
        return None
    low, high = float(seen.min()), float(seen.max())
    chance = _chance(view, measure)
    if chance is not None and abs(np.clip(chance, low, high) - chance) <= NEAR * (high - low):
        low, high = min(low, chance), max(high, chance)
    room = 0.06 * (high - low) + 0.5
    return [max(low - room, -1.0), min(high + room, 101.0)]


def _chance(view: SweepView, measure: Measure) -> float | None:
    """What guessing scores; None where the measure is no accuracy."""
    return view.chance if measure.bounded and measure.direction == "maximize" else None


def _response(
    view: SweepView, measure: Measure, *, span: list[float] | None, order: Sequence[Any]
) -> Figure:
    x, levels = view.x, view.by.levels if view.by else (None,)
    if x is None:
        raise ValueError("a response curve needs an axis")
    yaxis: dict[str, Any] = {"title": {"text": unit_title(measure)}}
    data, drawn, zoom = [], axis(x), ""
    if measure.bounded and span:
        yaxis["range"], zoom = span, _zoom(span)
        data += _chance_line(_chance(view, measure), span=span, ends=drawn["range"])
    for at, level in enumerate(order):
        if level in levels:
            data += _line(view, measure, x=x, level=level, at=at, count=len(order))
    return Figure(
        f"response-{measure.name}".replace(" ", "-"),
        f"{measure.title} ({_behind(view, measure)}{zoom})",
        f"{measure.title} over {x.name}; means with intervals, and each replicate. "
        "The table below holds the same numbers.",
        data,
        {"xaxis": drawn, "yaxis": yaxis},
        _line_keys(view, order),
    )


def _behind(view: SweepView, measure: Measure) -> str:
    """The replicates behind the means: `n = 5`, or `single runs; means: n = 0 to 2`."""
    rows = view.of(build).curve[view.of(build).curve["measure"] == measure.name]
    if not view.to_come:
        return count(rows["n"])
    return f"single runs; means: {count(rows['n'])}" if rows["n"].any() else "single runs"


def _zoom(span: Sequence[float]) -> str:
    """Which part of 0 to 100 the axis shows; empty where it shows all of it."""
    low, high = max(span[0], 0.0), min(span[1], 100.0)
    return "" if low < 1 and high > 99 else f"; axis {low:.0f} to {high:.0f}{FIXED}%"


def _chance_line(
    chance: float | None, *, span: Sequence[float], ends: Sequence[float]
) -> list[dict[str, Any]]:
    """A thin dotted line with its name, where the axis reaches the chance level."""
    if chance is None or not span[0] <= chance <= span[1]:
        return []
    return [
        {
            "type": "scatter",
            "mode": "lines+text",
            "showlegend": False,
            "hoverinfo": "skip",
            "name": "chance",
            "x": numbers(ends),
            "y": numbers([chance, chance]),
            "text": [f"chance, {number(chance, unit='')}{FIXED}%", ""],
            "textposition": "top right",
            "line": {"color": "@soft", "dash": "dot", "width": 1},
        }
    ]


def _line_keys(view: SweepView, order: Sequence[Any]) -> tuple[Mark, ...]:
    if view.by is None:
        return ()
    here = [(at, level) for at, level in enumerate(order) if level in view.by.levels]
    return tuple(Mark(f"{view.by.name} {show(level)}", **level_look(at)) for at, level in here)


def _line(
    view: SweepView, measure: Measure, *, x: Factor, level: Any, at: int, count: int
) -> list[dict[str, Any]]:
    points, means = (
        _at(view.of(build).points, measure, level),
        _at(view.of(build).curve, measure, level),
    )
    style = level_look(at)
    shift = 0.05 * (at - (count - 1) / 2) * gap(x)
    aside = 0.06 * gap(x)
    name = "mean" if view.by is None else f"{view.by.name} {show(level)}"
    place = np.array([x.position(one) for one in means["x"]])
    raw = {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": text(name),
        "x": numbers([x.position(one) + shift + aside for one in points["x"]]),
        "y": numbers(points["value"]),
        "text": [f"replicate {r}" for r in points["replicate"]],
        "hovertemplate": "%{y}<br>%{text}<extra>%{fullData.name}</extra>",
        "marker": {
            "color": style["colour"],
            "symbol": style["symbol"] + "-open",
            "size": 6,
            "opacity": 0.75,
            "line": {"width": 1},
        },
        "legendgroup": name,
    }
    mean = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": text(name),
        "legendgroup": name,
        "x": numbers(place + shift),
        "y": numbers(means["mean"]),
        "error_y": bars(means, bounded=measure.bounded, colour=style["colour"]),
        "line": {"color": style["colour"], "dash": style["dash"], "width": 2},
        "marker": {"color": style["colour"], "symbol": style["symbol"], "size": 9},
        "text": [_hover(row, x=x, unit=measure.unit) for _, row in means.iterrows()],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
    }
    cut = beyond(place + shift, means, bounded=measure.bounded, colour=style["colour"], name=name)
    return [raw, mean, *cut]


def _at(rows: pd.DataFrame, measure: Measure, level: Any) -> pd.DataFrame:
    chosen = rows[rows["measure"] == measure.name]
    return chosen[[one == level for one in chosen["by"]]]


def _hover(row: pd.Series, *, x: Factor, unit: str) -> str:
    shown = f"{row['low']:.4g} to {row['high']:.4g}" if math.isfinite(row["low"]) else "no interval"
    start = f"{text(x.name)} {text(show(row['x']))}: {row['mean']:.4g} {unit}"
    return f"{start}<br>{shown}, n = {row['n']}"


MARKS = "Filled marks are means over replicates with 95 % t intervals, open marks single replicates"
UNFINISHED = (
    "Open marks are single runs; filled marks are means, with 95 % t intervals, of the replicates "
    "that have every run of their line"
)
CUT = " An arrow at 0 or 100 marks an interval that would go on beyond it."


def section(view: SweepView) -> Section | None:
    drawn = panels(view)
    if not drawn:
        return None
    intro = (
        f"{UNFINISHED if view.to_come else MARKS}; "
        f"{goal(view.objective)} for {view.objective.title}."
    ) + (CUT if any(_is_cut(panel) for panel in drawn) else "")
    over = ", ".join(one.name for one in view.others)
    reading = (
        "Each interval stands on its own, for this test set. All numbers are from the test split. "
        "Straight lines join the means; nothing between two levels was measured. Each axis shows "
        "the part that the data fill, which its title names."
    ) + (f" The curve is the mean over {over}." if over else "")
    behind = folds((THE_NUMBERS, table(view, measures=view.measures)))
    return Section(
        "response", "Response curve", intro, tuple(drawn), behind, "panels", reading=reading
    )


def _is_cut(panel: Figure) -> bool:
    symbols = [str(trace.get("marker", {}).get("symbol")) for trace in panel.data]
    return any(one.startswith("arrow-") for one in symbols)


def table(view: SweepView, *, measures: Sequence[Measure]) -> Table | None:
    """The numbers of the response curve."""
    if view.x is None or not len(view.of(build).curve):
        return None
    if view.to_come:
        return _so_far(view, x=view.x, measures=measures)
    by = [view.by.name] if view.by else []
    rows = []
    for measure in measures:
        for _, row in (
            view.of(build).curve[view.of(build).curve["measure"] == measure.name].iterrows()
        ):
            level = [show(row["by"])] if view.by else []
            rows.append(
                [
                    measure.title,
                    *level,
                    show(row["x"]),
                    str(row["n"]),
                    number(row["mean"], unit=measure.unit),
                    number(row["sd"], unit=measure.unit),
                    span(row["low"], row["high"], unit=measure.unit),
                    *[number(row[part], unit=measure.unit) for part in ("min", "median", "max")],
                ]
            )
    head = ["measure", *by, view.x.name, "n", "mean", "sd", "95 % interval", "min", "median", "max"]
    return tabulate(
        "The response curve in numbers",
        head=head,
        rows=rows,
        words_in=1,
        note="95 % t interval of the mean over n replicates, each on its own; test split, the test "
        f"set held fixed. {plain(view.rule)}".rstrip(),
    )


def _so_far(view: SweepView, *, x: Factor, measures: Sequence[Measure]) -> Table:
    """What there is of an unfinished sweep: its single runs, and the means of complete blocks."""
    found, rows = view.of(build), []
    for measure in measures:
        unit = measure.unit
        means = found.curve[found.curve["measure"] == measure.name]
        seen = found.points[found.points["measure"] == measure.name]
        runs: dict[tuple[Any, Any], list[float]] = {}
        for at, by, value in zip(seen["x"], seen["by"], seen["value"], strict=True):
            runs.setdefault((at, by), []).append(float(value))
        for _, row in means.iterrows():
            values = runs.get((row["x"], row["by"]), [])
            by = [show(row["by"])] if view.by else []
            ends = span(row["low"], row["high"], unit=unit) if row["n"] >= LEAST else NONE_YET
            rows.append(
                [
                    measure.title,
                    *by,
                    show(row["x"]),
                    str(len(values)),
                    span(min(values), max(values), unit=unit) if values else NONE_YET,
                    str(row["n"]),
                    number(row["mean"], unit=unit) if row["n"] else NONE_YET,
                    ends,
                ]
            )
    by = [view.by.name] if view.by else []
    head = ["measure", *by, x.name, "runs", "from, to", "complete blocks", "mean", "95 % interval"]
    return tabulate(
        "The response so far",
        head=head,
        rows=rows,
        words_in=1,
        note="Runs are single runs; a block is a replicate with every run of its line, and means "
        "are over blocks alone, so that levels share their replicates. Test split.",
    )


TOPIC = Topic(section, short="Response", open=True, early=True)
