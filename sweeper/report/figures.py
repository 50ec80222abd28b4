"""Figures as plain plotly dictionaries: frame in, figure out, nothing computed.

Colours are tokens (`@ink`, `@level0`, `@ramp0` ...) that the page's script resolves for the light
and the dark theme. Levels of the second factor wear Okabe-Ito colours, levels of the axis an
ordered ramp; each also has its own marker, the same in every figure. Legends are HTML, drawn by
the template from a figure's keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis.answer import Answer
from sweeper.analysis.effects import Difference
from sweeper.analysis.factors import Factor, column, show
from sweeper.analysis.frames import Frames
from sweeper.analysis.measures import Measure, group_of, words
from sweeper.states import RunState

MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
COLOURS = 8  # of the level palette; more levels go round again, with another marker
MOST_LINES = 8  # levels drawn as training curves
MOST_RUNS = 240  # single runs drawn in the training curves; above it only means and ranges
MOST_EPOCHS = 120
# The same shapes for the legends, in a box of 12 by 12 around 0.
SHAPES = {
    "circle": "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",
    "square": "M-3.8-3.8h7.6v7.6h-7.6z",
    "diamond": "M0-5.2L5.2 0L0 5.2L-5.2 0z",
    "triangle-up": "M0-5L5 4H-5z",
    "cross": "M-1.7-5h3.4v3.3H5v3.4H1.7V5h-3.4V1.7H-5v-3.4h3.3z",
    "x": "M-4.7-2.3L-2.3-4.7L0-2.4L2.3-4.7L4.7-2.3L2.4 0L4.7 2.3L2.3 4.7L0 2.4L-2.3 4.7L-4.7 2.3L-2.4 0z",
    "star": "M0-5.5L1.5-1.8L5.4-1.6L2.4.9L3.4 4.7L0 2.6L-3.4 4.7L-2.4.9L-5.4-1.6L-1.5-1.8z",
    "hexagon": "M0-5L4.4-2.5V2.5L0 5L-4.4 2.5V-2.5z",
    "line-ew": "M-5-1.2h10v2.4h-10z",
}  # fmt: skip
STROKES = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}


@dataclass(frozen=True)
class Mark:
    """A line of a legend."""

    label: str
    colour: str
    symbol: str
    dash: str = ""  # "": no line through the marker

    @property
    def shape(self) -> str:
        return SHAPES[self.symbol]

    @property
    def stroke(self) -> str:
        return STROKES.get(self.dash, "9 4")


@dataclass(frozen=True)
class Figure:
    """A figure, the text that stands for it, and its legend."""

    id: str
    title: str
    alt: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    legend: tuple[Mark, ...] = ()


def text(value: object) -> str:
    """Text for plotly, which reads a little HTML: everything shown as written."""
    return escape(str(value), quote=False)


def _numbers(values: Sequence[float] | np.ndarray | pd.Series) -> list[float | None]:
    """JSON has no NaN, and five digits are enough to draw."""
    return [None if not math.isfinite(one) else float(f"{one:.5g}") for one in map(float, values)]


def level_look(at: int) -> dict[str, Any]:
    """Colour, marker and dash of a level of the second factor, by its place."""
    return {"colour": f"@level{at % COLOURS}", "symbol": MARKERS[at % len(MARKERS)],
            "dash": DASHES[at % len(DASHES)]}  # fmt: skip


def axis_look(at: int, *, count: int) -> dict[str, Any]:
    """Colour and marker of a level of the axis, where it is drawn as a line."""
    return {"colour": f"@ramp:{at / max(count - 1, 1):.3f}", "dash": "solid",
            "symbol": MARKERS[(at + 3) % len(MARKERS)]}  # fmt: skip


def axis(factor: Factor) -> dict[str, Any]:
    """The horizontal axis of a factor: its levels as ticks, on its scale."""
    positions = factor.positions
    room = 0.06 * float(np.ptp(positions)) + (0.35 if factor.scale == "category" else 0.12)
    title = f"{text(factor.name)} (log scale)" if factor.scale == "log2" else text(factor.name)
    at, labels = _ticks(factor)
    return {
        "title": {"text": title},
        "tickvals": at,
        "ticktext": labels,
        "range": [float(positions.min()) - room, float(positions.max()) + room],
    }


def _ticks(factor: Factor) -> tuple[list[float], list[str]]:
    """At most nine ticks: the levels themselves, or round values when there are more."""
    if factor.scale == "category" or len(factor.levels) <= 9:
        return _numbers(factor.positions), [text(show(level)) for level in factor.levels]  # pyright: ignore
    low, high = float(factor.levels[0]), float(factor.levels[-1])
    if factor.scale == "linear":
        values = [low + (high - low) * part / 4 for part in range(5)]
        return values, [f"{value:.3g}" for value in values]
    base = 10 if high / low > 300 else 2
    first, last = math.ceil(math.log(low, base)), math.floor(math.log(high, base))
    powers = [base**power for power in range(first, last + 1)]
    return [math.log2(power) for power in powers], [f"{power:g}" for power in powers]


def unit_title(measure: Measure) -> str:
    unit = {"points": "%"}.get(measure.unit, measure.unit)
    return f"{words(measure.title)} ({unit})" if unit else words(measure.title)


# --- the response curve ------------------------------------------------------------------------


def response(found: Answer) -> list[Figure]:
    """One panel a measure: means with intervals joined by lines, raw replicates as points."""
    if found.x is None or not len(found.curve):
        return []
    drawn = _panels(found)
    shared = _shared_range(found, drawn)
    return [_response(found, measure, shared=shared) for measure in drawn]


def _panels(found: Answer) -> list[Measure]:
    """The objective, then the class groups, at most four panels."""
    return [one for one in found.measures if one.role != "contrast"][:4]


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


def _response(found: Answer, measure: Measure, *, shared: list[float] | None) -> Figure:
    x, levels = found.x, found.by.levels if found.by else (None,)
    assert x is not None
    data = []
    for at, level in enumerate(levels):
        data += _line(found, measure, x=x, level=level, at=at, count=len(levels))
    yaxis: dict[str, Any] = {"title": {"text": unit_title(measure)}}
    if measure.bounded and shared:
        yaxis["range"] = shared
    group = group_of(measure)
    return Figure(
        f"response-{measure.name}".replace(" ", "-"),
        f"{group}: {measure.title}",
        f"{measure.title} over {x.name}; means with intervals, and each replicate. "
        "The table below holds the same numbers.",
        data,
        {"xaxis": axis(x), "yaxis": yaxis},
        _line_keys(found),
    )


def _line_keys(found: Answer) -> tuple[Mark, ...]:
    if found.by is None:
        return ()
    names = [f"{found.by.name} {show(level)}" for level in found.by.levels]
    return tuple(Mark(name, **level_look(at)) for at, name in enumerate(names))


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
        "x": _numbers([x.position(one) + shift + aside for one in points["x"]]),
        "y": _numbers(points["value"]),
        "text": [f"replicate {r}" for r in points["replicate"]],
        "hovertemplate": "%{y}<br>%{text}<extra>%{fullData.name}</extra>",
        "marker": {"color": style["colour"], "symbol": style["symbol"] + "-open", "size": 6,
                   "opacity": 0.75, "line": {"width": 1}},
        "legendgroup": str(at),
    }  # fmt: skip
    mean = {
        "type": "scatter", "mode": "lines+markers", "name": text(name), "legendgroup": str(at),
        "x": _numbers(place + shift), "y": _numbers(means["mean"]),
        "error_y": _bars(means, bounded=measure.bounded, colour=style["colour"]),
        "line": {"color": style["colour"], "dash": style["dash"], "width": 2},
        "marker": {"color": style["colour"], "symbol": style["symbol"], "size": 9},
        "text": [_hover(row, x=x, unit=measure.unit) for _, row in means.iterrows()],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
    }  # fmt: skip
    return [raw, mean]


def _at(rows: pd.DataFrame, measure: Measure, level: Any) -> pd.DataFrame:
    chosen = rows[rows["measure"] == measure.name]
    return chosen if level is None else chosen[chosen["by"] == level]


def _bars(means: pd.DataFrame, *, bounded: bool, colour: str) -> dict[str, Any]:
    """Error bars, clipped to 0 and 100 where the measure is."""
    low, high = means["low"], means["high"]
    if bounded:
        low, high = low.clip(lower=0), high.clip(upper=100)
    return {
        "type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 4,
        "array": _numbers(high - means["mean"]), "arrayminus": _numbers(means["mean"] - low),
    }  # fmt: skip


def _hover(row: pd.Series, *, x: Factor, unit: str) -> str:
    bars = f"{row['low']:.4g} to {row['high']:.4g}" if math.isfinite(row["low"]) else "no interval"
    return (
        f"{text(x.name)} {text(show(row['x']))}: {row['mean']:.4g} {unit}<br>{bars}, n = {row['n']}"
    )


# --- differences -------------------------------------------------------------------------------


def differences(found: Answer) -> Figure | None:
    """The axis factor's levels minus the reference, over all and at each level of the second."""
    if found.x is None or not found.effects:
        return None
    x, objective = found.x, found.objective
    overall = next(one for one in found.effects if one.factor is x)
    held = [one for one in found.effects_at if one.measure is objective and one.held is not None]
    rows = [("mean over all", overall.differences, None)] if held else []
    rows += [(f"{one.held.name} {show(one.at)}", one.differences, at)  # pyright: ignore
             for at, one in enumerate(held)]  # fmt: skip
    rows = rows or [("difference", overall.differences, 0)]
    data = []
    for place, (name, found_here, at) in enumerate(rows):
        shift = 0.14 * (place - (len(rows) - 1) / 2) * _gap(x)
        data += _difference(name, found_here, x=x, at=at, shift=shift)
    unit = objective.unit or "difference"
    reference = text(show(x.reference))
    return Figure(
        "differences",
        f"{objective.title}: difference from {x.name} {show(x.reference)}",
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
    return float(np.diff(x.positions).min())


def _difference(
    name: str, rows: Sequence[Difference], *, x: Factor, at: int | None, shift: float
) -> list[dict[str, Any]]:
    style, aside = _difference_look(at), 0.03 * _gap(x)
    raw_x = [x.position(one.level) + shift + aside for one in rows for _ in one.by_replicate]
    raw_y = [value for one in rows for value in one.by_replicate.values()]
    labels = [f"replicate {r}" for one in rows for r in one.by_replicate]
    means = pd.DataFrame(
        [{"mean": one.estimate.value, "low": one.estimate.low, "high": one.estimate.high}
         for one in rows], columns=pd.Index(["mean", "low", "high"]),
    )  # fmt: skip
    marker = {"color": style["colour"], "symbol": style["symbol"], "size": 10,
              "line": {"width": 2.5 if at is None else 0, "color": style["colour"]}}  # fmt: skip
    return [
        {"type": "scatter", "mode": "markers", "x": _numbers(raw_x), "y": _numbers(raw_y),
         "text": labels, "showlegend": False, "legendgroup": name, "name": text(name),
         "hovertemplate": "%{y:+.3f}<br>%{text}<extra>%{fullData.name}</extra>",
         "marker": {"color": style["colour"], "opacity": 0.55, "size": 6,
                    "symbol": "circle-open" if at is None else style["symbol"] + "-open"}},
        {"type": "scatter", "mode": "markers", "name": text(name), "legendgroup": name,
         "x": _numbers([x.position(one.level) + shift for one in rows]),
         "y": _numbers(means["mean"]), "marker": marker,
         "text": [f"{one.estimate.low:+.3g} to {one.estimate.high:+.3g}, n = {one.estimate.n}"
                  for one in rows],
         "hovertemplate": "%{y:+.3f} (%{text})<extra>%{fullData.name}</extra>",
         "error_y": _bars(means, bounded=False, colour=style["colour"])},
    ]  # fmt: skip


def heatmap(found: Answer) -> Figure | None:
    """The difference from the reference level within each level of the second factor.

    Equal rows mean no interaction.
    """
    if found.x is None or found.by is None or not len(found.curve):
        return None
    x, by, objective = found.x, found.by, found.objective
    rows = found.curve[found.curve["measure"] == objective.name]
    mean = rows.pivot(index="by", columns="x", values="mean")
    mean = mean.reindex(index=list(by.levels), columns=list(x.levels))
    change = mean.sub(mean[x.reference], axis=0)
    most = float(np.nanmax(np.abs(change.to_numpy()), initial=1e-9))
    labels = [
        [_heat_label(mean.iloc[i, j], change.iloc[i, j], objective.unit) for j in range(len(x.levels))]
        for i in range(len(by.levels))
    ]  # fmt: skip
    return Figure(
        "interaction",
        f"Change in {objective.title} from {x.name} {show(x.reference)}, row by row",
        f"Heat map of {x.name} by {by.name}. Rows that look alike mean that the two factors do not "
        "interact. The table below holds the same numbers.",
        [{"type": "heatmap", "z": [_numbers(row) for row in change.to_numpy()], "zmin": -most,
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


# --- training curves ---------------------------------------------------------------------------


def training(frames: Frames, found: Answer) -> list[Figure]:
    """Objective on val per epoch, then the losses; one panel a level of the second factor."""
    if found.x is None or not len(frames.curves):
        return []
    runs = frames.reported_runs
    runs = runs[runs["state"] == RunState.COMPLETE]
    cells = frames.cells.loc[list(runs["cell"])]
    tagged = pd.DataFrame({
        "run": runs.index,
        "x": pd.Series(column(cells, path=found.x.path), dtype=object),
        "by": pd.Series(column(cells, path=found.by.path) if found.by else [0] * len(cells),
                        dtype=object),
    })  # fmt: skip
    curves = frames.curves.merge(tagged, on="run")
    levels: list[Any] = list(found.by.levels) if found.by else [0]
    if len(found.x.levels) > MOST_LINES:
        return []
    figures = []
    for kind in (_objective_curves, _loss_curves):
        for at, level in enumerate(levels):
            here = curves[curves["by"] == level]
            figures.append(kind(here, frames=frames, found=found, level=level, at=at))
    return [one for one in figures if one.data]


def _where(found: Answer, level: Any) -> str:
    return "" if found.by is None else f", {found.by.name} {show(level)}"


def _objective_curves(
    curves: pd.DataFrame, *, frames: Frames, found: Answer, level: Any, at: int
) -> Figure:
    metric = words(frames.sweep.spec["objective"]["metric"])
    scale = 100.0 if found.objective.unit == "points" else 1.0
    data: list[dict[str, Any]] = []
    few = curves["run"].nunique() <= MOST_RUNS
    for place, one, rows in _by_level(curves, found.x):
        style = axis_look(place, count=len(found.x.levels))  # pyright: ignore
        wide = scale * rows.pivot(index="epoch", columns="run", values="objective")
        wide = wide.iloc[_thin(len(wide))]
        data += _band(wide, style=style, group=str(place))
        if few:
            data.append(_single_runs(wide, style=style, group=str(place)))
        data.append(_mean_line(wide.mean(axis=1), name=f"{found.x.name} {show(one)}",  # pyright: ignore
                               style=style, group=str(place)))  # fmt: skip
    return Figure(
        f"training-{at}", f"{metric} on val by epoch{_where(found, level)}",
        f"{metric} on the validation split by epoch{_where(found, level)}: means, ranges and runs.",
        data, _epochs(f"{metric} on val" + (" (%)" if scale > 1 else "")), _axis_keys(found),
    )  # fmt: skip


def _loss_curves(
    curves: pd.DataFrame, *, frames: Frames, found: Answer, level: Any, at: int
) -> Figure:
    del frames
    data: list[dict[str, Any]] = []
    for place, one, rows in _by_level(curves, found.x):
        means = rows.groupby("epoch")[["train_loss", "val_loss"]].mean()
        means = means.iloc[_thin(len(means))]
        for name, dash in (("val_loss", "solid"), ("train_loss", "dot")):
            style = {**axis_look(place, count=len(found.x.levels)), "dash": dash}  # pyright: ignore
            label = f"{found.x.name} {show(one)}, {name.split('_')[0]}"  # pyright: ignore
            data.append(_mean_line(means[name], name=label, style=style, group=label))
    return Figure(
        f"loss-{at}", f"Loss on train (dotted) and val (solid){_where(found, level)}",
        f"Mean loss on the training and the validation split by epoch{_where(found, level)}.",
        [one for one in data if any(y is not None for y in one["y"])], _epochs("loss"),
        _axis_keys(found),
    )  # fmt: skip


def _axis_keys(found: Answer) -> tuple[Mark, ...]:
    x = found.x
    if x is None:
        return ()
    return tuple(
        Mark(f"{x.name} {show(level)}", **axis_look(at, count=len(x.levels)))
        for at, level in enumerate(x.levels)
    )


def _by_level(curves: pd.DataFrame, x: Factor | None):
    assert x is not None
    for place, level in enumerate(x.levels):
        rows = curves[curves["x"] == level]
        if len(rows):
            yield place, level, rows


def _epochs(title: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": "epoch"}, "rangemode": "tozero"},
            "yaxis": {"title": {"text": text(title)}}}  # fmt: skip


def _thin(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MOST_EPOCHS)).astype(int))


def _band(wide: pd.DataFrame, *, style: dict[str, Any], group: str) -> list[dict[str, Any]]:
    """The range of the replicates."""
    if wide.shape[1] < 2:
        return []
    both = np.concatenate([wide.max(axis=1).to_numpy(), wide.min(axis=1).to_numpy()[::-1]])
    epochs = np.concatenate([wide.index.to_numpy(), wide.index.to_numpy()[::-1]])
    return [{"type": "scatter", "x": _numbers(epochs), "y": _numbers(both), "fill": "toself",
             "fillcolor": style["colour"], "opacity": 0.13, "line": {"width": 0},
             "hoverinfo": "skip", "showlegend": False, "legendgroup": group,
             "mode": "lines"}]  # fmt: skip


def _single_runs(wide: pd.DataFrame, *, style: dict[str, Any], group: str) -> dict[str, Any]:
    """All runs in one trace, with gaps between them."""
    xs, ys = [], []
    for run in wide.columns:
        xs += [*_numbers(wide.index.to_numpy()), None]
        ys += [*_numbers(wide[run]), None]
    return {"type": "scatter", "mode": "lines", "x": xs, "y": ys, "showlegend": False,
            "legendgroup": group, "hoverinfo": "skip", "opacity": 0.45,
            "line": {"color": style["colour"], "width": 0.8}}  # fmt: skip


def _mean_line(mean: pd.Series, *, name: str, style: dict[str, Any], group: str) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines+markers", "marker": {"color": style["colour"], "symbol": style["symbol"], "size": 7, "maxdisplayed": 7}, "x": _numbers(mean.index.to_numpy()),
            "y": _numbers(mean), "name": text(name), "legendgroup": group,
            "hovertemplate": "epoch %{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
            "line": {"color": style["colour"], "dash": style["dash"], "width": 2.2}}  # fmt: skip


# --- drawn cells: no grid ----------------------------------------------------------------------


def scatter(found: Answer) -> list[Figure]:
    """Each factor against the objective: one point a cell, with its interval."""
    rows = found.cells[found.cells["measure"] == found.objective.name] if len(found.cells) else None
    if rows is None or not found.factors:
        return []
    rows = rows.dropna(subset=["mean"])
    return [_scatter(found, rows, factor=factor, at=at) for at, factor in enumerate(found.factors)]


def _scatter(found: Answer, rows: pd.DataFrame, *, factor: Factor, at: int) -> Figure:
    place = np.array([factor.position(level) for level in rows[factor.path]])
    if factor.scale == "category":
        place = place + _spread_out(rows[factor.path])
    labels = [
        "<br>".join(f"{text(one.name)}: {text(show(row[one.path]))}" for one in found.factors)
        for _, row in rows.iterrows()
    ]
    objective = found.objective
    return Figure(
        f"scatter-{at}", f"{objective.title} over {factor.name}",
        f"{objective.title} of each cell over {factor.name}; the other factors vary as well. "
        "The table of cells holds the same numbers.",
        [{"type": "scatter", "mode": "markers", "x": _numbers(place), "y": _numbers(rows["mean"]),
          "text": labels, "hovertemplate": "%{y:.4g}<br>%{text}<extra></extra>",
          "showlegend": False, "marker": {"color": "@level0", "size": 8, "opacity": 0.85},
          "error_y": {**_bars(rows, bounded=objective.bounded, colour="@level0"), "thickness": 1}}],
        {"xaxis": axis(factor), "yaxis": {"title": {"text": unit_title(objective)}}},
    )  # fmt: skip


def _spread_out(levels: pd.Series) -> np.ndarray:
    """Cells of one word side by side, in the order of the table."""
    rank = levels.groupby(levels).cumcount().to_numpy(dtype=float)
    size = levels.groupby(levels).transform("size").to_numpy(dtype=float)
    return 0.5 * ((rank + 0.5) / size - 0.5)
