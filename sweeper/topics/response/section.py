"""The response curve: one panel a measure, and its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

from sweeper.analysis.factors import Factor, show
from sweeper.analysis.measures import Measure, goal
from sweeper.analysis.stopping_text import plain
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import number
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

Traces: TypeAlias = list[dict[str, Any]]
BETWEEN = "between"  # what is drawn between numbers, and left out of the page's tables


def objective_panel(view: SweepView, *, order: Sequence[Any], shared: list[float] | None) -> Figure:
    """The objective's panel; `order`: levels of the lines in all sweeps, for one look in all."""
    return _response(view, view.objective, shared=shared, order=order)


def panels(view: SweepView) -> list[Figure]:
    """One panel a measure: means with intervals joined by lines, raw replicates as points."""
    if view.x is None or not len(view.of(build).curve):
        return []
    drawn = _panels(view)
    shared = _shared_range(view, drawn)
    order = view.by.levels if view.by else (None,)
    return [_response(view, measure, shared=shared, order=order) for measure in drawn]


def _panels(view: SweepView) -> list[Measure]:
    """The objective, then the class groups, at most four panels."""
    return [one for one in view.measures if one.role != "contrast"][:4]


def objective_range(view: SweepView) -> list[float] | None:
    """The vertical range of the objective's panel alone."""
    return _shared_range(view, [view.objective])


def _shared_range(view: SweepView, drawn: Sequence[Measure]) -> list[float] | None:
    """One vertical range for all panels in points, so that they can be compared by eye."""
    names = [one.name for one in drawn if one.bounded]
    rows = view.of(build).points[view.of(build).points["measure"].isin(names)]
    bars = view.of(build).curve[view.of(build).curve["measure"].isin(names)]
    seen = np.concatenate([rows["value"], bars["low"], bars["high"]])
    seen = seen[np.isfinite(seen)].clip(0, 100)
    if not len(seen):
        return None
    room = 0.06 * float(np.ptp(seen)) + 0.5
    return [max(float(seen.min()) - room, -1.0), min(float(seen.max()) + room, 101.0)]


def _response(
    view: SweepView, measure: Measure, *, shared: list[float] | None, order: Sequence[Any]
) -> Figure:
    x, levels = view.x, view.by.levels if view.by else (None,)
    if x is None:
        raise ValueError("a response curve needs an axis")
    data = []
    for at, level in enumerate(order):
        if level in levels:
            data += _line(view, measure, x=x, level=level, at=at, count=len(order))
    yaxis: dict[str, Any] = {"title": {"text": unit_title(measure)}}
    if measure.bounded and shared:
        yaxis["range"] = shared
    rows = view.of(build).curve[view.of(build).curve["measure"] == measure.name]
    return Figure(
        f"response-{measure.name}".replace(" ", "-"),
        f"{measure.title} ({count(rows['n'])})",
        f"{measure.title} over {x.name}; means with intervals, and each replicate. "
        "The table below holds the same numbers.",
        data,
        {"xaxis": axis(x), "yaxis": yaxis},
        _line_keys(view, order),
    )


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
    smooth = (
        _smooth(place + shift, means["mean"].to_numpy(dtype=float), name=name, style=style)
        if x.scale != "category"
        else []
    )
    mean = {
        "type": "scatter",
        "mode": "markers" if smooth else "lines+markers",
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
    return [raw, *smooth, mean, *cut]


def _smooth(place: np.ndarray, y: np.ndarray, *, name: str, style: dict[str, Any]) -> Traces:
    """Means joined by a curve that makes no hill between them (PCHIP); nothing of two levels."""
    if len(place) < 3 or not np.isfinite(y).all():
        return []
    x = np.unique(np.concatenate([np.linspace(a, b, 9) for a, b in pairwise(place)]))
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "showlegend": False,
            "hoverinfo": "skip",
            "name": text(name),
            "legendgroup": name,
            "meta": BETWEEN,
            "x": numbers(x),
            "y": numbers(PchipInterpolator(place, y)(x)),
            "line": {"color": style["colour"], "dash": style["dash"], "width": 2},
        }
    ]


def _at(rows: pd.DataFrame, measure: Measure, level: Any) -> pd.DataFrame:
    chosen = rows[rows["measure"] == measure.name]
    return chosen[[one == level for one in chosen["by"]]]


def _hover(row: pd.Series, *, x: Factor, unit: str) -> str:
    shown = f"{row['low']:.4g} to {row['high']:.4g}" if math.isfinite(row["low"]) else "no interval"
    start = f"{text(x.name)} {text(show(row['x']))}: {row['mean']:.4g} {unit}"
    return f"{start}<br>{shown}, n = {row['n']}"


CUT = " An arrow at 0 or 100 marks an interval that would go on beyond it."


def section(view: SweepView) -> Section | None:
    drawn = panels(view)
    if not drawn:
        return None
    over = ", ".join(one.name for one in view.others)
    averaged = f" The curve is the mean over {over}." if over else ""
    intro = (
        "Filled marks are means over replicates, bars their 95 % t intervals (each on its own, "
        "test set fixed), open marks single replicates; the line between levels is drawn, not "
        "estimated. All numbers are from the test split; "
        f"{goal(view.objective)} for {view.objective.title}.{averaged}"
    ) + (CUT if any(_is_cut(panel) for panel in drawn) else "")
    behind = folds((THE_NUMBERS, table(view, measures=view.measures)))
    return Section("response", "Response curve", intro, tuple(drawn), behind, "panels")


def _is_cut(panel: Figure) -> bool:
    symbols = [str(trace.get("marker", {}).get("symbol")) for trace in panel.data]
    return any(one.startswith("arrow-") for one in symbols)


def table(view: SweepView, *, measures: Sequence[Measure]) -> Table | None:
    """The numbers of the response curve."""
    if view.x is None or not len(view.of(build).curve):
        return None
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


TOPIC = Topic(section, short="Response", open=True)
