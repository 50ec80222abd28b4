"""Error bars taken apart: two intervals a difference, and the part that each source has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sweeper.analysis.factors import Factor, show
from sweeper.analysis.measures import Measure
from sweeper.analysis.stopping import Rule
from sweeper.analysis.stopping_text import plain
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number
from sweeper.drawing.figure import Figure, Mark, Section, axis, count, level_look, numbers, text
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.variance_sources.estimate import Bar, SourceShare, VarianceSources, build, rows
from sweeper.topics.variance_sources.text import finding, methods, parts, percent, runs

MOST_PANELS = 3
MOST_ROWS = 400
VISIBLE = 1.1  # an outer interval as wide, over the inner one, can be told from it
SOURCES = ("runs", "test set", "single answers")
COLOURS = ("@soft", "@level4", "@grid")  # three shades as well, always in this order
ROOM = 16  # percent: a smaller part has no room for its number
METHOD = (
    "The thick bar is the interval over replicates: it holds for this test set. The thin bar "
    "counts the test examples too: it is for new data of the same kind, and never narrower."
)


def section(view: SweepView) -> Section | None:
    one = view.of(build)
    if one is None or not one.shares:
        return None
    tables = [("The differences", differences(one))] if one.differences else []
    tables += [("The cells", cells(one, rule=view.rule)), ("The shares", shares(one))]
    return Section(
        "anatomy",
        "Where the error bars come from",
        "\n".join([METHOD, *parts(one), runs(one, name=view.frames.sweep.name)]),
        (*_panels(view, one), _shares(one)),
        tuple(tables),
        "panels two",
        finding(one),
    )


def _panels(view: SweepView, one: VarianceSources) -> Iterator[Figure]:
    """The axis's differences with both intervals, one panel a measure."""
    x = view.x
    listed = [m for m in view.measures if any(b.measure == m for b in one.differences)]
    for measure in listed[:MOST_PANELS] if x is not None else ():
        if measure.minus is None and x is not None and _tells(one, measure=measure, x=x):
            yield _panel(view, one, measure=measure, x=x)


def _tells(one: VarianceSources, *, measure: Measure, x: Factor) -> bool:
    """Whether an interval for new data is visibly wider than that for this test set."""
    own = (bar for bar in one.differences if bar.measure == measure and bar.factor is x)
    return any(
        bar.outer.high - bar.outer.low > VISIBLE * (bar.inner.high - bar.inner.low) for bar in own
    )


def _panel(view: SweepView, one: VarianceSources, *, measure: Measure, x: Factor) -> Figure:
    own = [bar for bar in one.differences if bar.measure == measure and bar.factor is x]
    drawn = [
        (name, [bar for bar in own if bar.where == name], _look(view, name, own))
        for name in dict.fromkeys(bar.where for bar in own)
    ]
    data = [
        trace
        for place, (name, bars, look) in enumerate(drawn)
        for trace in _traces(bars, x=x, name=name, look=look, shift=place - (len(drawn) - 1) / 2)
    ]
    unit = measure.unit or "difference"
    return Figure(
        f"anatomy-{measure.name}".replace(" ", "-"),
        f"{measure.title}: difference from {x.name} {show(x.reference)} "
        f"({count(bar.inner.n for bar in own)}, {_examples(own)} {one.thing})",
        f"Differences in {measure.title} from {x.name} {show(x.reference)}: the interval for this "
        "test set, thick, and for new data, thin. The table below holds the same numbers.",
        data,
        {
            "xaxis": axis(x),
            "yaxis": {
                "title": {"text": f"{unit} against {text(show(x.reference))}"},
                "zeroline": True,
            },
        },
        tuple(Mark(name, **{**look, "dash": ""}) for name, _, look in drawn)
        if len(drawn) > 1
        else (),
    )


def _look(view: SweepView, name: str, bars: Sequence[Bar]) -> dict[str, Any]:
    """Like the line of the second factor's level; of a mean over it, a dash."""
    one, by = next(bar for bar in bars if bar.where == name), view.by
    if by is None:
        return level_look(0)
    level = one.at if one.held is not None else view.held.get(by.path)
    if level in by.levels:
        return level_look(by.levels.index(level))
    return {"colour": "@ink", "symbol": "line-ew", "dash": "solid"}


def _examples(bars: Sequence[Bar]) -> str:
    low, high = min(b.examples for b in bars), max(b.examples for b in bars)
    return f"{low}" if low == high else f"{low} to {high}"


def _traces(
    bars: Sequence[Bar], *, x: Factor, name: str, look: dict[str, Any], shift: float
) -> list[dict[str, Any]]:
    gaps = [abs(b - a) for a, b in zip(sorted(x.positions), sorted(x.positions)[1:], strict=False)]
    place = numbers([x.position(bar.level) + 0.14 * shift * min(gaps) for bar in bars])
    thin = {
        "type": "scatter",
        "mode": "markers",
        "x": place,
        "legendgroup": name,
        "y": numbers([bar.inner.value for bar in bars]),
        "hoverinfo": "skip",
        "showlegend": False,
        "name": text(name),
        "marker": {"color": look["colour"], "size": 1},
        "error_y": _error(bars, "outer", look=look, thickness=1.3, width=6),
    }
    thick = {
        **thin,
        "hoverinfo": "all",
        "text": [_hover(bar) for bar in bars],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
        "marker": {
            "color": look["colour"],
            "symbol": look["symbol"],
            "size": 9,
            "line": {"width": 2.5 if look["symbol"] == "line-ew" else 0, "color": look["colour"]},
        },
        "error_y": _error(bars, "inner", look=look, thickness=5, width=0),
    }
    return [thin, thick]


def _error(
    bars: Sequence[Bar], which: str, *, look: dict[str, Any], thickness: float, width: float
) -> dict[str, Any]:
    known = [getattr(bar, which) for bar in bars]
    return {
        "type": "data",
        "symmetric": False,
        "color": look["colour"],
        "thickness": thickness,
        "width": width,
        "array": numbers([one.high - one.value for one in known]),
        "arrayminus": numbers([one.value - one.low for one in known]),
    }


def _hover(bar: Bar) -> str:
    unit = bar.measure.unit
    return (
        f"{text(show(bar.level))}: {number(bar.inner.value, unit=unit, signed=True)}<br>this test "
        f"set {interval(bar.inner, unit=unit)}<br>new data {interval(bar.outer, unit=unit)}"
    )


def _shares(one: VarianceSources) -> Figure:
    """A stacked bar for the means and for the differences of each measure."""
    names = [
        text(_name(share)).replace("differences in ", "differences in<br>") for share in one.shares
    ]
    said = "; ".join(f"{_name(share)}: {_said(share)}" for share in one.shares)
    return Figure(
        "anatomy-shares",
        "What the error is made of: parts of the variance for new data",
        f"Parts of the outer intervals' variance. {said}.",
        [_part(one.shares, names, at) for at in range(len(SOURCES))],
        {
            "barmode": "stack",
            "bargap": 0.35,
            "xaxis": {"title": {"text": "share of the<br>variance (%)"}, "range": [0, 100.5]},
            "yaxis": {
                "type": "category",
                "categoryorder": "array",
                "categoryarray": names[::-1],
                "showgrid": False,
                "range": [-0.6, len(names) - 0.4],
            },
            "height": 120 + 38 * len(names),
        },
        tuple(Mark(name, colour, "square") for name, colour in zip(SOURCES, COLOURS, strict=True)),
    )


def _name(share: SourceShare) -> str:
    title = share.measure.title
    return title if share.of == "means" else f"differences in {title}"


def _said(share: SourceShare) -> str:
    return ", ".join(
        f"{name} {percent(part)}" for name, part in zip(SOURCES, share.parts, strict=True)
    )


def _part(listed: Sequence[SourceShare], names: Sequence[str], at: int) -> dict[str, Any]:
    values = [100 * share.parts[at] for share in listed]
    return {
        "type": "bar",
        "orientation": "h",
        "name": SOURCES[at],
        "showlegend": False,
        "x": numbers(values),
        "y": list(names),
        "text": [f"{value:.0f} %" if value >= ROOM else "" for value in values],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "inside",
        "hovertemplate": "%{y}: %{x:.0f} %<extra>%{fullData.name}</extra>",
        "marker": {"color": COLOURS[at], "line": {"color": "@soft", "width": 1}},
    }


HEAD = ("n", "family", "this test set", "new data", "df", "runs", "test set", "single answers",
        "half-width, endless replicates", "test examples", "smallest class")  # fmt: skip
NOTE = (
    "Student t intervals. New data: V_run + V_ex - V_res over runs and test examples, at least as "
    "wide as for this test set, degrees of freedom by Satterthwaite; examples are drawn within "
    "classes. Shares are of the variance: runs shrink with replicates, the test set with more test "
    "examples, single answers with either."
)


def differences(one: VarianceSources) -> Table:
    """Both intervals of every difference."""
    rows = [
        (
            bar.measure.title,
            bar.factor.name if bar.factor else "",
            bar.where,
            show(bar.level),
            show(bar.reference),
            number(bar.inner.value, unit=bar.measure.unit, signed=True),
            *_numbers(bar),
        )
        for bar in one.differences
    ]
    return Table(
        "Differences on this test set and on new data, in points",
        ("measure", "factor", "at", "level", "against", "difference", *HEAD),
        tuple(rows),
        frozenset(range(5, 6 + len(HEAD))),
        f"{NOTE} Intervals are simultaneous over the family (Bonferroni).",
    )


def cells(one: VarianceSources, *, rule: Rule) -> Table:
    """Both intervals of every cell's mean."""
    shown = one.cells[:MOST_ROWS]
    rows = [
        (
            bar.measure.title,
            str(bar.cell),
            number(bar.inner.value, unit=bar.measure.unit),
            *_numbers(bar, signed=False),
        )
        for bar in shown
    ]
    left_out = len(one.cells) - len(shown)
    more = f" {left_out} more rows are in `sweeper export`." if left_out else ""
    return Table(
        "Means on this test set and on new data, in points",
        ("measure", "cell", "mean", *HEAD),
        tuple(rows),
        frozenset(range(2, 3 + len(HEAD))),
        f"{NOTE} Each interval on its own.{more} {plain(rule)}".rstrip(),
    )


def _numbers(bar: Bar, *, signed: bool = True) -> tuple[str, ...]:
    unit, known = bar.measure.unit, bar.outer.known
    runs, examples, single = bar.sources.shares
    return (
        str(bar.inner.n),
        str(bar.inner.family),
        interval(bar.inner, unit=unit, signed=signed),
        interval(bar.outer, unit=unit, signed=signed),
        f"{bar.sources.df:.3g}" if known else "n/a",
        percent(runs),
        percent(examples),
        percent(single),
        number(bar.floor, unit=unit),
        str(bar.examples),
        f"{bar.smallest[0]} ({bar.smallest[1]})",
    )


def shares(one: VarianceSources) -> Table:
    """The parts of the variance, over the cells and over the differences of the axis."""
    rows = [
        (
            share.measure.title,
            share.of,
            str(share.bars),
            *map(percent, share.parts),
            number(share.now, unit=share.measure.unit),
            number(share.endless, unit=share.measure.unit),
            str(share.examples),
        )
        for share in one.shares
    ]
    return Table(
        "What the error is made of",
        (
            "measure",
            "of",
            "intervals",
            *SOURCES,
            "widest half-width",
            "after endless replicates",
            "test examples",
        ),
        tuple(rows),
        frozenset(range(2, 9)),
        "Parts of the summed variances; differences are those of the axis where the question asks.",
    )


TOPIC = Topic(section, short="Error bars", methods=methods, tables={"anatomy": (build, rows)})
