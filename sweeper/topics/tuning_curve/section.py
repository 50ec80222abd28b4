"""Tuning curves: what the best of n trials reaches at each level, and which rates serve it."""

from __future__ import annotations

from typing import Any

import numpy as np

from sweeper.analysis.factors import show
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, number
from sweeper.drawing.figure import (
    THE_NUMBERS,
    Figure,
    Mark,
    Section,
    axis,
    drawn,
    folds,
    level_look,
    numbers,
    text,
    unit_title,
)
from sweeper.drawing.table import Table, span, tabulate
from sweeper.topics.base import Topic
from sweeper.topics.tuning_curve.estimate import (
    Curve,
    Tuning,
    build,
    extremes,
    outcomes,
    rows,
)
from sweeper.topics.tuning_curve.text import certainty, methods, rates

TITLE = "Tuning curves"
TABLED = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # trials that the table shows


def section(view: SweepView) -> Section | None:
    found = view.of(build)
    if found is None:
        return None
    intro = (
        f"What the best of n trials of random search reaches at each {found.factor.name}. "
        f"{certainty(found)}"
    )
    reading = (
        f"Lines are medians of the best, shades their 95{FIXED}% bands, which hold for all numbers "
        "of trials and all levels at once, and are drawn as far as the runs bound them."
    )
    figures = drawn((_curves(found), _rates(view, found)))
    second = f"\n{rates(found)}" if rates(found) else ""
    tables = folds((THE_NUMBERS, table(found)), ("Each level's runs", levels(found)))
    return Section("tuning", TITLE, intro + second, figures, tables, reading=reading)


def _curves(found: Tuning) -> Figure:
    data: list[dict[str, Any]] = []
    for at, one in enumerate(found.curves):
        data += _band(found, one, at=at)
    for at, one in enumerate(found.curves):
        data.append(_line(found, one, at=at))
    most = int(found.trials[-1])
    ticks = [one for one in TABLED if one <= most]
    xaxis = {
        "title": {"text": "trials of random search (log scale)"},
        "tickvals": numbers(np.log2(ticks)),
        "ticktext": [str(one) for one in ticks],
    }
    return Figure(
        "tuning-curves",
        f"best {found.measure.title} over the number of trials",
        f"The median of the best {found.measure.title} of n trials at each {found.factor.name}, "
        "with bands. The table below holds the numbers.",
        data,
        {"xaxis": xaxis, "yaxis": {"title": {"text": unit_title(found.measure)}}},
        _keys(found),
    )


def _name(found: Tuning, one: Curve) -> str:
    return f"{found.factor.name} {show(one.level)}"


def _keys(found: Tuning) -> tuple[Mark, ...]:
    return tuple(Mark(_name(found, one), **level_look(at)) for at, one in enumerate(found.curves))


def _band(found: Tuning, one: Curve, *, at: int) -> list[dict[str, Any]]:
    """The band as far as the runs bound it on both sides."""
    known = _bounded(found, one)
    if not known.any():
        return []
    x = np.log2(found.trials[known])
    return [
        {
            "type": "scatter",
            "x": numbers(np.concatenate([x, x[::-1]])),
            "y": numbers(np.concatenate([one.high[known], one.low[known][::-1]])),
            "fill": "toself",
            "fillcolor": level_look(at)["colour"],
            "opacity": 0.12,
            "line": {"width": 0},
            "hoverinfo": "skip",
            "showlegend": False,
            "legendgroup": _name(found, one),
            "name": text(_name(found, one)),
            "mode": "lines",
        }
    ]


def _bounded(found: Tuning, one: Curve) -> np.ndarray:
    least, most = extremes(found.measure)
    return (one.low > least) & (one.high < most)


def _line(found: Tuning, one: Curve, *, at: int) -> dict[str, Any]:
    look = level_look(at)
    ends = [_ends(*pair, found.measure) for pair in zip(one.low, one.high, strict=True)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": numbers(np.log2(found.trials)),
        "y": numbers(one.value),
        "name": text(_name(found, one)),
        "legendgroup": _name(found, one),
        "text": [
            f"best of {n}: {number(value, unit=found.measure.unit)} (band {end})"
            for n, value, end in zip(found.trials, one.value, ends, strict=True)
        ],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
        "line": {"color": look["colour"], "dash": look["dash"], "width": 2.2},
        "marker": {"color": look["colour"], "symbol": look["symbol"], "size": 7, "maxdisplayed": 9},
    }


def _rates(view: SweepView, found: Tuning) -> Figure | None:
    """Every run over its learning rate, the good ones of each level filled."""
    if found.rate is None:
        return None
    runs, data = outcomes(view), []
    for at, one in enumerate(found.curves):
        mine = runs[[level == one.level for level in runs[found.factor.path]]]
        good = (mine["y"] - one.best).abs() <= found.near
        look = level_look(at)
        place = np.array([found.rate.position(level) for level in mine[found.rate.path]])
        for kept, mark in ((~good, f"{look['symbol']}-open"), (good, look["symbol"])):
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": numbers(place[kept.to_numpy()]),
                    "y": numbers(mine["y"][kept]),
                    "name": text(_name(found, one)),
                    "legendgroup": _name(found, one),
                    "showlegend": False,
                    "hovertemplate": "%{y:.4g}<extra>%{fullData.name}</extra>",
                    "marker": {"color": look["colour"], "symbol": mark, "size": 7, "opacity": 0.8},
                }
            )
    return Figure(
        "tuning-rates",
        f"{found.measure.title} of each run over {found.rate.name}",
        f"{found.measure.title} of each run over {found.rate.name}; filled marks are runs within "
        f"{number(found.near, unit=found.measure.unit)} {found.measure.unit} of the best of their "
        f"{found.factor.name}.",
        data,
        {"xaxis": axis(found.rate), "yaxis": {"title": {"text": unit_title(found.measure)}}},
        _keys(found),
    )


def table(found: Tuning) -> Table:
    """The curves at some numbers of trials."""
    unit = found.measure.unit
    listed = [
        [
            show(one.level),
            str(int(n)),
            number(one.value[at], unit=unit),
            _ends(one.low[at], one.high[at], found.measure),
        ]
        for one in found.curves
        for at, n in enumerate(found.trials)
        if int(n) in TABLED
    ]
    return tabulate(
        f"The best {found.measure.title} of n trials",
        head=[found.factor.name, "trials", "median of the best", "95 % band"],
        rows=listed,
        words_in=1,
        note="The band holds for all numbers of trials and all levels at once. It is exact for "
        "trials whose settings are drawn independently at random.",
    )


def _ends(low: float, high: float, measure: Measure) -> str:
    """The band; `from 70.1` where the runs do not bound it above."""
    unit, (least, most) = measure.unit, extremes(measure)
    if low > least and high >= most:
        return f"from {number(low, unit=unit)}"
    if low <= least and high < most:
        return f"up to {number(high, unit=unit)}"
    return span(low, high, unit=unit)


def levels(found: Tuning) -> Table:
    """The runs of each level: how many, the median, the best, and the good learning rates."""
    unit = found.measure.unit
    rate = found.rate.name if found.rate is not None else ""
    head = [found.factor.name, "runs", "failed or stopped", "median run", "best run"]
    if rate:
        head += ["good runs", f"{rate} of good runs", "part of the log range"]
    listed = []
    for one in found.curves:
        row = [show(one.level), str(one.runs), str(one.lost)]
        row += [number(part, unit=unit) for part in (one.median, one.best)]
        if rate:
            mine = one.rates
            row += (
                [str(mine.runs), f"{show(mine.low)} to {show(mine.high)}", f"{mine.part:.0%}"]
                if mine
                else ["0", "n/a", "n/a"]
            )
        listed.append(row)
    size = f"{number(found.near, unit=unit)} {unit}".strip()
    return tabulate(
        f"The runs of each {found.factor.name}",
        head=head,
        rows=listed,
        words_in=1,
        note=f"Good runs lie within {size} of the best run of their level. Other factors vary as "
        "well, so a rate without a good run may still be good with other settings.",
    )


TOPIC = Topic(
    section, short="Tuning", open=True, methods=methods, tables={"tuning_curve": (build, rows)}
)
