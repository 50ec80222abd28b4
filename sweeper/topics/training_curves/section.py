"""Training curves: the objective by epoch or update, and the losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis.factors import Factor, column, combination, show
from sweeper.analysis.measures import words
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import number
from sweeper.drawing.figure import (
    THE_NUMBERS,
    Figure,
    Mark,
    RunLine,
    Runs,
    Section,
    axis_look,
    folds,
    level_look,
    numbers,
    text,
)
from sweeper.drawing.table import Table, reached, tabulate
from sweeper.states import RunState
from sweeper.topics.base import Topic

MOST_LINES = 8  # levels drawn as lines of their own
MOST_EPOCHS = 120
MOST_POINTS = 5000  # of single runs, in one figure
LEAST_EPOCHS = 12
SPLITS = {"val": "validation", "test": "test"}


def panels(view: SweepView) -> list[Figure]:
    """The objective, then the losses; one panel a level of the second factor."""
    if not len(view.frames.curves):
        return []
    if not view.grid:
        view = replace(view, x=None, by=None)
    runs = view.frames.reported_runs
    runs = runs[(runs["epoch"] > 0) & runs["cell"].isin(view.comparable.cells)]
    cells = view.frames.cells.loc[list(runs["cell"])]
    tagged = pd.DataFrame(
        {
            "run": runs.index,
            "complete": (runs["state"] == RunState.COMPLETE).to_numpy(),
            "x": pd.Series(
                column(cells, path=view.x.path) if view.x else [0] * len(cells), dtype=object
            ),
            "by": pd.Series(
                column(cells, path=view.by.path) if view.by else [0] * len(cells), dtype=object
            ),
        }
    )
    curves = view.frames.curves.merge(tagged, on="run")
    if _unit(view) == "update":
        curves = curves.assign(epoch=curves["step"])
    levels: list[Any] = list(view.by.levels) if view.by else [0]
    if view.x is not None and len(view.x.levels) > MOST_LINES:
        view = replace(view, x=None)
    figures = []
    for kind in (_objective_curves, _loss_curves):
        for at, level in enumerate(levels):
            here = curves[[one == level for one in curves["by"]]]
            if len(here):
                figures.append(kind(here, view=view, level=level, at=at))
    return [one for one in figures if one.data]


def _unit(view: SweepView) -> str:
    """What the curves run over: a budget in steps has no epochs."""
    return "update" if view.frames.sweep.spec["budget"]["unit"] == "steps" else "epoch"


def _where(view: SweepView, level: Any) -> str:
    return "" if view.by is None else f", {view.by.name} {show(level)}"


def _objective_curves(curves: pd.DataFrame, *, view: SweepView, level: Any, at: int) -> Figure:
    metric, unit = words(view.frames.sweep.spec["objective"]["metric"]), _unit(view)
    where = SPLITS[view.frames.split]
    scale = 100.0 if view.objective.unit == "points" else 1.0
    data: list[dict[str, Any]] = []
    for name, style, rows in _by_level(curves[curves["complete"]], view.x):
        wide = scale * rows.pivot(index="epoch", columns="run", values="objective")
        wide = wide.iloc[_thin(len(wide))]
        data += _band(wide, style=style, group=name)
        data.append(_mean_line(wide.mean(axis=1), name=name, style=style, group=name))
    whole = curves[curves["complete"]]["run"].nunique()
    return Figure(
        f"training-{at}",
        f"{metric} on {view.frames.split} by {unit}{_where(view, level)} ({whole} runs)",
        f"{metric} on the {where} split by {unit}{_where(view, level)}: means and ranges of "
        f"{whole} runs. The table below holds the ends of the curves.",
        data,
        _axes(f"{metric} on {view.frames.split}" + (" (%)" if scale > 1 else ""), unit=unit),
        _axis_keys(view),
        runs=_runs(curves, view=view, scale=scale),
    )


def _runs(curves: pd.DataFrame, *, view: SweepView, scale: float) -> Runs:
    """Every run behind the bands, those that failed or were pruned as well."""
    count = curves["run"].nunique()
    epochs = np.array(sorted(set(curves["epoch"])))
    most = min(max(MOST_POINTS // max(count, 1), LEAST_EPOCHS), MOST_EPOCHS)
    epochs = epochs[_thin(len(epochs), most=most)]
    lines = []
    for name, style, rows in _by_level(curves, view.x):
        wide = scale * rows.pivot(index="epoch", columns="run", values="objective")
        wide = wide.reindex(epochs)
        lines += [
            RunLine(int(run), name, style["colour"], _run_words(view, int(run)), _ended(wide[run]))
            for run in sorted(set(rows["run"]))
        ]
    return Runs(numbers(epochs), tuple(lines))


def _ended(values: pd.Series) -> list[float | None]:
    """Without what comes after the run's end."""
    listed = [None if one is None else float(f"{one:.4g}") for one in numbers(values)]
    while listed and listed[-1] is None:
        listed.pop()
    return listed


def _run_words(view: SweepView, run: int) -> str:
    """`Replicate 0 of cell 3 (batch size 2, train ratio 1): complete`."""
    row = view.frames.runs.loc[run].to_dict()
    factors = view.frames.cells["factors"][row["cell"]]
    levels = ", ".join(f"{one.name} {show(factors.get(one.path))}" for one in view.factors)
    ended = str(row["state"])
    if ended != RunState.COMPLETE:
        reason = str(row["ending"]).replace("_", " ") if isinstance(row["ending"], str) else ""
        ended = f"{reason or ended} {reached(view.frames, row['epoch'])}"
    return f"Replicate {row['replicate']} of cell {row['cell']} ({levels}): {ended}"


def _loss_curves(curves: pd.DataFrame, *, view: SweepView, level: Any, at: int) -> Figure:
    data: list[dict[str, Any]] = []
    for name, style, rows in _by_level(curves[curves["complete"]], view.x):
        means = rows.groupby("epoch")[["train_loss", "val_loss"]].mean()
        means = means.iloc[_thin(len(means))]
        for column_name, dash in (("val_loss", "solid"), ("train_loss", "dot")):
            label = f"{name}, {column_name.split('_')[0]}"
            line = _mean_line(
                means[column_name], name=label, style={**style, "dash": dash}, group=name
            )
            data.append(line)
    both = view.frames.split == "val"
    return Figure(
        f"loss-{at}",
        f"Loss on train{' (dotted) and val (solid)' if both else ''}{_where(view, level)}",
        f"Mean loss on the training{' and the validation' if both else ''} split by "
        f"{_unit(view)}{_where(view, level)}.",
        [one for one in data if any(y is not None for y in one["y"])],
        _axes("loss", unit=_unit(view), positive=True),
        _axis_keys(view),
        folded=True,
    )


def _axis_keys(view: SweepView) -> tuple[Mark, ...]:
    x = view.x
    if x is None:
        return ()
    return tuple(
        Mark(f"{x.name} {show(level)}", **axis_look(at, count=len(x.levels)))
        for at, level in enumerate(x.levels)
    )


def _by_level(
    curves: pd.DataFrame, x: Factor | None
) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Name, look and rows of each line: the axis factor's levels, or all cells as one."""
    if x is None:
        yield "all cells", level_look(0), curves
        return
    for place, level in enumerate(x.levels):
        rows = curves[[one == level for one in curves["x"]]]
        if len(rows):
            yield f"{x.name} {show(level)}", axis_look(place, count=len(x.levels)), rows


def _axes(title: str, *, unit: str, positive: bool = False) -> dict[str, Any]:
    """`positive`: the page offers a log scale."""
    scale = {"scale": "positive"} if positive else {}
    return {
        "xaxis": {"title": {"text": unit}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": text(title)}, **scale},
    }


def _thin(count: int, *, most: int = MOST_EPOCHS) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _band(wide: pd.DataFrame, *, style: dict[str, Any], group: str) -> list[dict[str, Any]]:
    """The range of the replicates."""
    if wide.shape[1] < 2:
        return []
    both = np.concatenate([wide.max(axis=1).to_numpy(), wide.min(axis=1).to_numpy()[::-1]])
    epochs = np.concatenate([wide.index.to_numpy(), wide.index.to_numpy()[::-1]])
    return [
        {
            "type": "scatter",
            "x": numbers(epochs),
            "y": numbers(both),
            "fill": "toself",
            "fillcolor": style["colour"],
            "opacity": 0.13,
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": group,
            "mode": "lines",
        }
    ]


def _mean_line(mean: pd.Series, *, name: str, style: dict[str, Any], group: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": numbers(mean.index.to_numpy()),
        "y": numbers(mean),
        "name": text(name),
        "legendgroup": group,
        "hovertemplate": "%{x}: %{y:.4g}<extra>%{fullData.name}</extra>",
        "line": {"color": style["colour"], "dash": style["dash"], "width": 2.2},
        "marker": {
            "color": style["colour"],
            "symbol": style["symbol"],
            "size": 7,
            "maxdisplayed": 7,
        },
    }


def section(view: SweepView) -> Section | None:
    drawn = panels(view)
    if not drawn:
        return None
    where = {
        "val": "on the validation split, which serves selection only",
        "test": "on the test split, for the data have no validation split; nothing was selected",
    }
    intro = (
        "Lines are means over complete runs, shades the range of their replicates. "
        "Choose a level or a shade to see its single runs, failed and pruned ones as well."
    )
    reading = "" if view.frames.foreign else f"The curves are read {where[view.frames.split]}."
    behind = folds((THE_NUMBERS, table(view)))
    return Section(
        "training", "Training curves", intro, tuple(drawn), behind, "panels two", reading=reading
    )


def table(view: SweepView) -> Table | None:
    """The ends of the training curves: means over complete runs at the last epoch."""
    if view.x is None or not len(view.frames.curves):
        return None
    runs = view.frames.reported_runs
    complete = runs[(runs["state"] == RunState.COMPLETE) & runs["cell"].isin(view.comparable.cells)]
    last = view.frames.curves.drop_duplicates("run", keep="last").set_index("run")
    last = last.reindex(complete.index)
    axes = [one for one in (view.by, view.x) if one is not None]
    keys = [
        combination(view.frames.cells["factors"][cell], paths=[one.path for one in axes])
        for cell in complete["cell"]
    ]
    unit = view.objective.unit
    scale = 100.0 if unit == "points" else 1.0
    losses = ["train_loss", "val_loss"] if view.frames.split == "val" else ["train_loss"]
    rows = []
    for key in sorted(dict.fromkeys(keys), key=lambda levels: _order(axes, levels)):
        here = last[[one == key for one in keys]]
        rows.append(
            [
                *[show(level) for level in key],
                str(len(here)),
                number(scale * here["objective"].mean(), unit=unit),
                *[number(here[one].mean(), unit="") for one in losses],
            ]
        )
    head = [
        *[one.name for one in axes],
        "runs",
        f"{words(view.objective.name)} on {view.frames.split}",
        *[one.replace("_", " ") for one in losses],
    ]
    return tabulate("Training curves at the last epoch", head=head, rows=rows, words_in=0)


def _order(axes: Sequence[Factor], levels: Sequence[Any]) -> list[int]:
    """The order of a row by its levels; levels that are not compared come last."""
    known = [list(one.levels) for one in axes]
    pairs = zip(known, levels, strict=True)
    return [listed.index(level) if level in listed else len(listed) for listed, level in pairs]


TOPIC = Topic(section, short="Training", open=True, early=True)
