"""The response curve, the differences, the heat map, and the cells factor by factor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

from sweeper.analysis.answer import Answer
from sweeper.analysis.effects import Difference
from sweeper.analysis.factors import Factor, show
from sweeper.analysis.measures import Measure
from sweeper.analysis.verdicts import interval
from sweeper.report.drawing import (
    Figure,
    Mark,
    axis,
    bars,
    beyond,
    count,
    level_look,
    numbers,
    text,
    unit_title,
)  # fmt: skip

Traces: TypeAlias = list[dict[str, Any]]
BETWEEN = "between"  # what is drawn between numbers, and left out of the page's tables
MOST_LINES = 12  # replicates that are drawn as lines


def objective_panel(found: Answer, *, order: Sequence[Any], shared: list[float] | None) -> Figure:
    """The objective's panel; `order`: levels of the lines in all sweeps, for one look in all."""
    return _response(found, found.objective, shared=shared, order=order)


def response(found: Answer) -> list[Figure]:
    """One panel a measure: means with intervals joined by lines, raw replicates as points."""
    if found.x is None or not len(found.curve):
        return []
    drawn = _panels(found)
    shared = _shared_range(found, drawn)
    order = found.by.levels if found.by else (None,)
    return [_response(found, measure, shared=shared, order=order) for measure in drawn]


def _panels(found: Answer) -> list[Measure]:
    """The objective, then the class groups, at most four panels."""
    return [one for one in found.measures if one.role != "contrast"][:4]


def objective_range(found: Answer) -> list[float] | None:
    """The vertical range of the objective's panel alone."""
    return _shared_range(found, [found.objective])


def _shared_range(found: Answer, drawn: Sequence[Measure]) -> list[float] | None:
    """One vertical range for all panels in points, so that they can be compared by eye."""
    names = [one.name for one in drawn if one.bounded]
    rows = found.points[found.points["measure"].isin(names)]
    bars = found.curve[found.curve["measure"].isin(names)]
    seen = np.concatenate([rows["value"], bars["low"], bars["high"]])
    seen = seen[np.isfinite(seen)].clip(0, 100)
    if not len(seen):
        return None
    room = 0.06 * float(np.ptp(seen)) + 0.5
    return [max(float(seen.min()) - room, -1.0), min(float(seen.max()) + room, 101.0)]


def _response(
    found: Answer, measure: Measure, *, shared: list[float] | None, order: Sequence[Any]
) -> Figure:
    x, levels = found.x, found.by.levels if found.by else (None,)
    if x is None:
        raise ValueError("a response curve needs an axis")
    data = []
    for at, level in enumerate(order):
        if level in levels:
            data += _line(found, measure, x=x, level=level, at=at, count=len(order))
    yaxis: dict[str, Any] = {"title": {"text": unit_title(measure)}}
    if measure.bounded and shared:
        yaxis["range"] = shared
    rows = found.curve[found.curve["measure"] == measure.name]
    return Figure(
        f"response-{measure.name}".replace(" ", "-"),
        f"{measure.title} ({count(rows['n'])})",
        f"{measure.title} over {x.name}; means with intervals, and each replicate. "
        "The table below holds the same numbers.",
        data,
        {"xaxis": axis(x), "yaxis": yaxis},
        _line_keys(found, order),
    )


def _line_keys(found: Answer, order: Sequence[Any]) -> tuple[Mark, ...]:
    if found.by is None:
        return ()
    here = [(at, level) for at, level in enumerate(order) if level in found.by.levels]
    return tuple(Mark(f"{found.by.name} {show(level)}", **level_look(at)) for at, level in here)


def _line(
    found: Answer, measure: Measure, *, x: Factor, level: Any, at: int, count: int
) -> list[dict[str, Any]]:
    points, means = _at(found.points, measure, level), _at(found.curve, measure, level)
    style = level_look(at)
    shift = 0.05 * (at - (count - 1) / 2) * _gap(x)
    aside = 0.06 * _gap(x)
    name = "mean" if found.by is None else f"{found.by.name} {show(level)}"
    place = np.array([x.position(one) for one in means["x"]])
    raw = {
        "type": "scatter", "mode": "markers", "showlegend": False, "name": text(name),
        "x": numbers([x.position(one) + shift + aside for one in points["x"]]),
        "y": numbers(points["value"]),
        "text": [f"replicate {r}" for r in points["replicate"]],
        "hovertemplate": "%{y}<br>%{text}<extra>%{fullData.name}</extra>",
        "marker": {"color": style["colour"], "symbol": style["symbol"] + "-open", "size": 6,
                   "opacity": 0.75, "line": {"width": 1}},
        "legendgroup": name,
    }  # fmt: skip
    smooth = (
        _smooth(place + shift, means["mean"].to_numpy(dtype=float), name=name, style=style)
        if x.scale != "category" else []
    )  # fmt: skip
    mean = {
        "type": "scatter", "mode": "markers" if smooth else "lines+markers",
        "name": text(name), "legendgroup": name,
        "x": numbers(place + shift), "y": numbers(means["mean"]),
        "error_y": bars(means, bounded=measure.bounded, colour=style["colour"]),
        "line": {"color": style["colour"], "dash": style["dash"], "width": 2},
        "marker": {"color": style["colour"], "symbol": style["symbol"], "size": 9},
        "text": [_hover(row, x=x, unit=measure.unit) for _, row in means.iterrows()],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
    }  # fmt: skip
    cut = beyond(place + shift, means, bounded=measure.bounded, colour=style["colour"], name=name)
    return [raw, *smooth, mean, *cut]


def _smooth(place: np.ndarray, y: np.ndarray, *, name: str, style: dict[str, Any]) -> Traces:
    """Means joined by a curve that makes no hill between them (PCHIP); nothing of two levels."""
    if len(place) < 3 or not np.isfinite(y).all():
        return []
    x = np.unique(np.concatenate([np.linspace(a, b, 9) for a, b in pairwise(place)]))
    return [{
        "type": "scatter", "mode": "lines", "showlegend": False, "hoverinfo": "skip",
        "name": text(name), "legendgroup": name, "meta": BETWEEN,
        "x": numbers(x), "y": numbers(PchipInterpolator(place, y)(x)),
        "line": {"color": style["colour"], "dash": style["dash"], "width": 2},
    }]  # fmt: skip


def _at(rows: pd.DataFrame, measure: Measure, level: Any) -> pd.DataFrame:
    chosen = rows[rows["measure"] == measure.name]
    return chosen[[one == level for one in chosen["by"]]]


def _hover(row: pd.Series, *, x: Factor, unit: str) -> str:
    shown = f"{row['low']:.4g} to {row['high']:.4g}" if math.isfinite(row["low"]) else "no interval"
    start = f"{text(x.name)} {text(show(row['x']))}: {row['mean']:.4g} {unit}"
    return f"{start}<br>{shown}, n = {row['n']}"


# --- differences -------------------------------------------------------------------------------


def differences(found: Answer) -> Figure | None:
    """The axis factor's levels minus the reference, over all and at each level of the second."""
    if found.x is None or not found.effects:
        return None
    x, objective = found.x, found.objective
    overall = next(one for one in found.effects if one.factor is x)
    held = [one for one in found.effects_at if one.measure is objective and one.held is not None]
    rows: list[tuple[str, Sequence[Difference], int | None]]
    rows = [(one.where, one.differences, at) for at, one in enumerate(held)]
    rows = [(overall.where, overall.differences, None if held else 0), *rows]
    data = []
    for place, (name, found_here, at) in enumerate(rows):
        shift = 0.14 * (place - (len(rows) - 1) / 2) * _gap(x)
        data += _difference(name, found_here, x=x, at=at, shift=shift, lines=place == 0)
    unit = objective.unit or "difference"
    reference = text(show(x.reference))
    return Figure(
        "differences",
        f"{objective.title}: difference from {x.name} {show(x.reference)} "
        f"({count([one.estimate.n for _, group, _ in rows for one in group])})",
        f"Paired differences in {objective.title} from {x.name} {show(x.reference)}, "
        "with simultaneous intervals. The table below holds the same numbers.",
        data,
        {
            "xaxis": _with_reference(x),
            "yaxis": {"title": {"text": f"{unit} against {reference}"}, "zeroline": True},
        },
        tuple(Mark(name, **{**_difference_look(at), "dash": ""}) for name, _, at in rows)
        if len(rows) > 1
        else (),
    )


def _with_reference(x: Factor) -> dict[str, Any]:
    """The axis of `x` with its reference level named."""
    drawn = axis(x)
    here = text(show(x.reference))
    labels = [f"{one}<br>(reference)" if one == here else one for one in drawn["ticktext"]]
    return {**drawn, "ticktext": labels}


def _difference_look(at: int | None) -> dict[str, Any]:
    if at is not None:
        return level_look(at)
    return {"colour": "@ink", "symbol": "line-ew", "dash": "solid"}


def _gap(x: Factor) -> float:
    """The smallest distance of two levels, at most a third of the axis."""
    return min(float(np.diff(x.positions).min()), float(np.ptp(x.positions)) / 3)


def _difference(
    name: str, rows: Sequence[Difference], *, x: Factor, at: int | None, shift: float, lines: bool
) -> list[dict[str, Any]]:
    style, aside = _difference_look(at), 0.03 * _gap(x)
    raw = list(_by_replicate(rows, x))
    joined = lines and len({r for _, _, r in raw}) <= MOST_LINES
    means = pd.DataFrame(
        [{"mean": one.estimate.value, "low": one.estimate.low, "high": one.estimate.high}
         for one in rows], columns=pd.Index(["mean", "low", "high"]),
    )  # fmt: skip
    marker = {"color": style["colour"], "symbol": style["symbol"], "size": 10,
              "line": {"width": 2.5 if at is None else 0, "color": style["colour"]}}  # fmt: skip
    return [
        {"type": "scatter", "mode": "lines+markers" if joined else "markers",
         "x": numbers([place + shift + aside for place, _, _ in raw]),
         "y": numbers([value for _, value, _ in raw]),
         "text": [f"replicate {r}" for _, _, r in raw],
         "line": {"color": style["colour"], "width": 0.5},
         "showlegend": False, "legendgroup": name, "name": text(name),
         "hovertemplate": "%{y:+.3f}<br>%{text}<extra>%{fullData.name}</extra>",
         "marker": {"color": style["colour"], "opacity": 0.55, "size": 6,
                    "symbol": "circle-open" if at is None else style["symbol"] + "-open"}},
        {"type": "scatter", "mode": "markers", "name": text(name), "legendgroup": name,
         "x": numbers([x.position(one.level) + shift for one in rows]),
         "y": numbers(means["mean"]), "marker": marker,
         "text": [f"{interval(one.estimate, unit='')}, n = {one.estimate.n}" for one in rows],
         "hovertemplate": "%{y:+.3f} (%{text})<extra>%{fullData.name}</extra>",
         "error_y": bars(means, bounded=False, colour=style["colour"])},
    ]  # fmt: skip


def _by_replicate(rows: Sequence[Difference], x: Factor) -> Iterator[tuple[float, float, int]]:
    """Place, difference and replicate, a replicate after the other with a gap between them."""
    for r in sorted({r for one in rows for r in one.by_replicate}):
        points = [(x.position(one.level), one.by_replicate[r]) for one in rows
                  if r in one.by_replicate]  # fmt: skip
        for place, value in sorted([*points, (x.position(x.reference), 0.0)]):
            yield place, value, r
        yield math.nan, math.nan, r


def heatmap(found: Answer) -> Figure | None:
    """The difference from the reference level within each level of the second factor.

    Equal rows mean no interaction.
    """
    if found.x is None or found.by is None or not len(found.curve):
        return None
    x, by, objective = found.x, found.by, found.objective
    rows = found.curve[found.curve["measure"] == objective.name]
    known = {(row["by"], row["x"]): row["mean"] for _, row in rows.iterrows()}
    mean = np.array([[known[line, level] for level in x.levels] for line in by.levels], dtype=float)
    change = mean - mean[:, [x.levels.index(x.reference)]]
    most = float(np.nanmax(np.abs(change), initial=1e-9))
    labels = [
        [_heat_label(mean[i, j], change[i, j], objective.unit) for j in range(len(x.levels))]
        for i in range(len(by.levels))
    ]  # fmt: skip
    return Figure(
        "interaction",
        f"Change in {objective.title} from {x.name} {show(x.reference)}, row by row "
        f"({count(rows['n'])})",
        f"Heat map of {x.name} by {by.name}. Rows that look alike mean that the two factors do not "
        "interact. The table below holds the same numbers.",
        [{"type": "heatmap", "z": [numbers(row) for row in change], "zmin": -most,
          "zmax": most, "x": [text(show(one)) for one in x.levels],
          "y": [text(show(one)) for one in by.levels], "text": labels, "texttemplate": "%{text}",
          "hovertemplate": "%{text}<extra></extra>", "xgap": 3, "ygap": 3,
          "colorscale": "@diverging",
          "colorbar": {"title": {"text": objective.unit or "change"}, "thickness": 12}}],
        {"xaxis": {"type": "category", "title": {"text": text(x.name)}, "showgrid": False},
         "yaxis": {"type": "category", "title": {"text": text(by.name)}, "showgrid": False},
         "height": 150 + 62 * len(by.levels)},
    )  # fmt: skip


def _heat_label(mean: float, change: float, unit: str) -> str:
    if not math.isfinite(mean):
        return "no run"
    digits = ".1f" if unit == "points" else ".3g"
    step = "" if not change or not math.isfinite(change) else f"<b>{change:+{digits}}</b><br>"
    return f"{step}{mean:{digits}}".replace("-", "\N{MINUS SIGN}")


def scatter(found: Answer) -> list[Figure]:
    """Each factor against the objective: one point a cell, with its interval."""
    rows = found.cells[found.cells["measure"] == found.objective.name] if len(found.cells) else None
    if rows is None or not found.factors:
        return []
    rows = rows.dropna(subset=["mean"])
    return [_scatter(found, rows, factor=factor, at=at) for at, factor in enumerate(found.factors)]


def _scatter(found: Answer, rows: pd.DataFrame, *, factor: Factor, at: int) -> Figure:
    place = np.array([factor.position(level) for level in rows[factor.path]])
    place = place + _room(factor) * _spread_out(rows[factor.path])
    labels = [
        "<br>".join(f"{text(one.name)}: {text(show(row[one.path]))}" for one in found.factors)
        for _, row in rows.iterrows()
    ]
    objective = found.objective
    return Figure(
        f"scatter-{at}", f"{objective.title} over {factor.name} ({count(rows['n'])} a cell)",
        f"{objective.title} of each cell over {factor.name}; the other factors vary as well. "
        "The table of cells holds the same numbers.",
        [{"type": "scatter", "mode": "markers", "x": numbers(place), "y": numbers(rows["mean"]),
          "text": labels, "hovertemplate": "%{y:.4g}<br>%{text}<extra></extra>",
          "showlegend": False, "marker": {"color": "@level0", "size": 8, "opacity": 0.85},
          "error_y": {**bars(rows, bounded=objective.bounded, colour="@level0"), "thickness": 1}},
         *beyond(place, rows, bounded=objective.bounded, colour="@level0", name="cell")],
        {"xaxis": axis(factor), "yaxis": {"title": {"text": unit_title(objective)}}},
    )  # fmt: skip


def _room(factor: Factor) -> float:
    """How far cells of one level may stand apart: half the way to the next level."""
    near = float(np.diff(factor.positions).min())
    return 0.5 * near if near > 0.03 * float(np.ptp(factor.positions)) else 0.0


def _spread_out(levels: pd.Series) -> np.ndarray:
    """Cells of one level side by side, in the order of the table, within -0.5 to 0.5."""
    rank = levels.groupby(levels, dropna=False).cumcount().to_numpy(dtype=float)
    size = levels.groupby(levels, dropna=False).transform("size").to_numpy(dtype=float)
    return (rank + 0.5) / size - 0.5
