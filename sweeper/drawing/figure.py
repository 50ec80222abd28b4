"""What every figure shares: its form, looks of levels, axes, text. Nothing is computed.

A figure is a plain plotly dictionary. Colours are tokens (`@ink`, `@level0`, `@ramp:0.5` ...) that
the page's script resolves for the light and the dark theme. Orange means worse and green better,
so no level has these colours: levels of the second factor are blue, gold or grey, levels of the
axis an ordered ramp from violet to pink. Each also has its own marker, the same in every figure.
Legends are HTML, drawn by the template from a figure's keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from sweeper.analysis.factors import Factor, show
from sweeper.analysis.measures import Measure, words
from sweeper.analysis.wording import FIXED
from sweeper.drawing.table import Table

MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
COLOURS = 8  # of the level palette; more levels go round again, with another marker
# The same shapes for the legends, in a box of 12 by 12 around 0.
SHAPES = {
    "circle": "M-4.2 0a4.2 4.2 0 1 0 8.4 0a4.2 4.2 0 1 0-8.4 0z",
    "square": "M-3.8-3.8h7.6v7.6h-7.6z",
    "diamond": "M0-5.2L5.2 0L0 5.2L-5.2 0z",
    "triangle-up": "M0-5L5 4H-5z",
    "cross": "M-1.7-5h3.4v3.3H5v3.4H1.7V5h-3.4V1.7H-5v-3.4h3.3z",
    "x": "M-4.7-2.3l2.4-2.4L0-2.4l2.3-2.3l2.4 2.4L2.4 0l2.3 2.3l-2.4 2.4L0 2.4l-2.3 2.3l-2.4-2.4L-2.4 0z",  # noqa: E501
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
class Stop:
    """A place of a slider: what it is called, what it means, and what it changes in the figure.

    `patch` maps a trace's place in `data` to the entries of that trace that differ here.
    """

    label: str
    said: str
    patch: dict[int, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Slider:
    """A range input under a figure; each stop was computed beforehand."""

    label: str
    stops: tuple[Stop, ...]
    start: int = 0


@dataclass(frozen=True)
class RunLine:
    """One run behind a band: which it is, in words, and its values at the first epochs of `x`."""

    run: int
    group: str  # the label of the legend's mark that it belongs to
    colour: str
    said: str
    y: list[float | None]


@dataclass(frozen=True)
class Runs:
    """The single runs behind the bands of a figure; the page shows them when it is asked to."""

    x: list[float | None]
    lines: tuple[RunLine, ...]


@dataclass(frozen=True)
class Figure:
    """A figure, the text that stands for it, and its legend.

    A trace belongs to the mark of the legend whose label is its name, or its `legendgroup`. A
    folded figure is shown below the others of its section when the reader asks for it.
    """

    id: str
    title: str
    alt: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    legend: tuple[Mark, ...] = ()
    slider: Slider | None = None
    runs: Runs | None = None
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """A part of the page: a few sentences, figures, and the tables behind them.

    Attributes:
        id: its anchor, and the part of the file that `sweeper verify` names.
        intro: its one or two sentences, or paragraphs, a line each.
        finding: its result in a short sentence, which is read while the section is folded.
        reading: how to read its figures, and what they rest on; folded.
        tables: (label of the fold, table); without a label the table stands open.
        layout: "" one figure under the other, "panels" side by side, "panels two" in two columns.
    """

    id: str
    title: str
    intro: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[tuple[str, Table], ...] = ()
    layout: str = ""
    finding: str = ""
    reading: str = ""


def text(value: object) -> str:
    """Text for plotly, which reads a little HTML: everything shown as written."""
    return escape(str(value), quote=False)


def numbers(values: Sequence[float] | np.ndarray | pd.Series) -> list[float | None]:
    """JSON has no NaN, and five digits are enough to draw."""
    return [None if not math.isfinite(one) else float(f"{one:.5g}") for one in map(float, values)]


def level_look(at: int) -> dict[str, Any]:
    """Colour, marker and dash of a level of the second factor, by its place."""
    return {
        "colour": f"@level{at % COLOURS}",
        "symbol": MARKERS[at % len(MARKERS)],
        "dash": DASHES[at % len(DASHES)],
    }


def axis_look(at: int, *, count: int) -> dict[str, Any]:
    """Colour and marker of a level of the axis, where it is drawn as a line."""
    return {
        "colour": f"@ramp:{at / max(count - 1, 1):.3f}",
        "dash": "solid",
        "symbol": MARKERS[(at + 3) % len(MARKERS)],
    }


def axis(factor: Factor) -> dict[str, Any]:
    """The horizontal axis of a factor: its levels as ticks, on its scale."""
    positions = factor.positions
    room = 0.06 * float(np.ptp(positions)) + (0.35 if factor.scale == "category" else 0.12)
    title = f"{text(factor.name)} (log scale)" if factor.scale == "log2" else text(factor.name)
    at, labels = _ticks(factor)
    return {
        "title": {"text": title},
        "scale": factor.scale,  # not plotly's: the page offers the levels themselves as well
        "tickvals": at,
        "ticktext": labels,
        "range": [float(positions.min()) - room, float(positions.max()) + room],
    }


def _ticks(factor: Factor) -> tuple[Sequence[float | None], list[str]]:
    """At most nine ticks: the levels themselves, or round values when there are more."""
    if factor.scale == "category" or len(factor.levels) <= 9:
        return numbers(factor.positions), [text(show(level)) for level in factor.levels]
    low, high = float(factor.levels[0]), float(factor.levels[-1])
    if factor.scale == "linear":
        values = [low + (high - low) * part / 4 for part in range(5)]
        return values, [f"{value:.3g}" for value in values]
    base = 10 if high / low > 300 else 2
    first, last = math.ceil(math.log(low, base)), math.floor(math.log(high, base))
    powers = [base**power for power in range(first, last + 1)]
    return [math.log2(power) for power in powers], [f"{power:g}" for power in powers]


def count(ns: Iterable[int]) -> str:
    """`n = 5`, or `n = 3 to 5`."""
    seen = sorted({int(n) for n in ns})
    if not seen:
        return f"n{FIXED}={FIXED}0"
    ends = f"{seen[0]}" if len(seen) == 1 else f"{seen[0]} to {seen[-1]}"
    return f"n{FIXED}={FIXED}{ends}"


def unit_title(measure: Measure) -> str:
    unit = {"points": "%"}.get(measure.unit, measure.unit)
    return f"{words(measure.title)} ({unit})" if unit else words(measure.title)


def beyond(
    place: np.ndarray, means: pd.DataFrame, *, bounded: bool, colour: str, name: str
) -> list[dict[str, Any]]:
    """Marks at 0 and 100 where `bars` cuts an interval: an arrow to the side it goes on to."""
    low, high = means["low"].to_numpy(dtype=float), means["high"].to_numpy(dtype=float)
    ends = [(low < 0, 0, low, "down"), (high > 100, 100, high, "up")] if bounded else []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "showlegend": False,
            "name": text(name),
            "legendgroup": name,
            "x": numbers(place[cut]),
            "y": [edge] * int(cut.sum()),
            "text": [f"the interval goes on to {one:.4g}" for one in end[cut]],
            "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
            "marker": {"color": colour, "symbol": f"arrow-{side}", "size": 8},
        }
        for cut, edge, end, side in ends
        if cut.any()
    ]


def bars(means: pd.DataFrame, *, bounded: bool, colour: str) -> dict[str, Any]:
    """Error bars, clipped to 0 and 100 where the measure is."""
    low, high = means["low"], means["high"]
    if bounded:
        low, high = low.clip(lower=0), high.clip(upper=100)
    return {
        "type": "data",
        "symmetric": False,
        "color": colour,
        "thickness": 1.5,
        "width": 4,
        "array": numbers(high - means["mean"]),
        "arrayminus": numbers(means["mean"] - low),
    }


THE_NUMBERS = "The numbers"


def folds(*listed: tuple[str, Table | None]) -> tuple[tuple[str, Table], ...]:
    """The tables that there are."""
    return tuple((label, table) for label, table in listed if table is not None)


def drawn(listed: Iterable[Figure | None]) -> tuple[Figure, ...]:
    """The figures that there are."""
    return tuple(one for one in listed if one is not None)


def gap(x: Factor) -> float:
    """The smallest distance of two levels, at most a third of the axis."""
    return min(float(np.diff(x.positions).min()), float(np.ptp(x.positions)) / 3)
