"""Each level against the reference level: the figure and the table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from sweeper.analysis.effects import Difference
from sweeper.analysis.factors import Factor, show
from sweeper.analysis.verdicts import needed_in_brackets
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number
from sweeper.drawing.figure import (
    THE_NUMBERS,
    Figure,
    Mark,
    Section,
    axis,
    bars,
    count,
    folds,
    gap,
    level_look,
    numbers,
    text,
)
from sweeper.drawing.table import Table, p_value, tabulate
from sweeper.topics.base import Topic
from sweeper.topics.differences.estimate import Effect, build, rows

MOST_LINES = 12  # replicates that are drawn as lines


def figure(view: SweepView) -> Figure | None:
    """The axis factor's levels minus the reference, at each level of the second factor."""
    rows = _drawn(view)
    if view.x is None or not rows:
        return None
    x, objective = view.x, view.objective
    data = []
    for place, (name, found_here, at) in enumerate(rows):
        shift = 0.14 * (place - (len(rows) - 1) / 2) * gap(x)
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


def _drawn(view: SweepView) -> list[tuple[str, Sequence[Difference], int | None]]:
    """A row a line: its name, its differences, its place among the second factor's levels."""
    found, by = view.of(build), view.by
    listed: list[tuple[str, Sequence[Difference], int | None]] = []
    for one in (*found.primary, *found.exploratory):
        if one.factor is view.x and one.measure is view.objective:
            level = one.at if one.held else view.held.get(by.path) if by else None
            known = by is not None and level in by.levels
            place = by.levels.index(level) if known and by else None
            listed.append((one.where, one.differences, place if by else 0))
    return sorted(listed, key=lambda one: -1 if one[2] is None else one[2])


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


def _difference(
    name: str, rows: Sequence[Difference], *, x: Factor, at: int | None, shift: float, lines: bool
) -> list[dict[str, Any]]:
    style, aside = _difference_look(at), 0.03 * gap(x)
    raw = list(_by_replicate(rows, x))
    joined = lines and len({r for _, _, r in raw}) <= MOST_LINES
    means = pd.DataFrame(
        [
            {"mean": one.estimate.value, "low": one.estimate.low, "high": one.estimate.high}
            for one in rows
        ],
        columns=pd.Index(["mean", "low", "high"]),
    )
    marker = {
        "color": style["colour"],
        "symbol": style["symbol"],
        "size": 10,
        "line": {"width": 2.5 if at is None else 0, "color": style["colour"]},
    }
    return [
        {
            "type": "scatter",
            "mode": "lines+markers" if joined else "markers",
            "x": numbers([place + shift + aside for place, _, _ in raw]),
            "y": numbers([value for _, value, _ in raw]),
            "text": [f"replicate {r}" for _, _, r in raw],
            "line": {"color": style["colour"], "width": 0.5},
            "showlegend": False,
            "legendgroup": name,
            "name": text(name),
            "hovertemplate": "%{y:+.3f}<br>%{text}<extra>%{fullData.name}</extra>",
            "marker": {
                "color": style["colour"],
                "opacity": 0.55,
                "size": 6,
                "symbol": "circle-open" if at is None else style["symbol"] + "-open",
            },
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": text(name),
            "legendgroup": name,
            "x": numbers([x.position(one.level) + shift for one in rows]),
            "y": numbers(means["mean"]),
            "marker": marker,
            "text": [f"{interval(one.estimate, unit='')}, n = {one.estimate.n}" for one in rows],
            "hovertemplate": "%{y:+.3f} (%{text})<extra>%{fullData.name}</extra>",
            "error_y": bars(means, bounded=False, colour=style["colour"]),
        },
    ]


def _by_replicate(rows: Sequence[Difference], x: Factor) -> Iterator[tuple[float, float, int]]:
    """Place, difference and replicate, a replicate after the other with a gap between them."""
    for r in sorted({r for one in rows for r in one.by_replicate}):
        points = [
            (x.position(one.level), one.by_replicate[r]) for one in rows if r in one.by_replicate
        ]
        for place, value in sorted([*points, (x.position(x.reference), 0.0)]):
            yield place, value, r
        yield math.nan, math.nan, r


def section(view: SweepView) -> Section | None:
    drawn = figure(view)
    if drawn is None:
        return None
    intro = (
        "Each mark is the mean difference from the reference within replicates; open marks are "
        "single replicates, joined by thin lines where they are few. "
        "An interval that misses 0 is a difference. Intervals are simultaneous "
        "over the levels."
    )
    behind = folds(
        (THE_NUMBERS, table(view)),
        ("With failures counted at chance level", with_failures(view)),
    )
    return Section("differences", "Against the reference level", intro, (drawn,), behind)


def table(view: SweepView) -> Table | None:
    """Every paired difference, primary ones first."""
    found = view.of(build)
    rows = [
        _difference_row(one, at)
        for one in (*found.primary, *found.exploratory)
        for at in range(len(one.differences))
    ]
    if not rows:
        return None
    head = [
        "measure",
        "factor",
        "at",
        "level",
        "against",
        "n",
        "difference",
        "interval",
        "family",
        "p (adjusted)",
        "p (signs)",
        "better in",
        "r",
        "verdict",
    ]
    made = tabulate(
        "Paired differences",
        head=head,
        rows=rows,
        words_in=5,
        note="t intervals of the differences within replicates, simultaneous over the family "
        f"(Bonferroni){unit_note(view)}; p is adjusted the same way. Rows with a verdict come from "
        "the table of all pairs, which the answer follows; all others are exploratory, and have "
        "none. p (signs): exact, by flipping the signs of "
        "the replicates' differences, each on its own, from six replicates on. "
        "r: correlation of the two levels over replicates. An "
        "undecided row says about how many more replicates would decide a change of the size "
        f"seen, and the time for them here. {view.rule.method()}".rstrip(),
    )
    return Table(made.caption, made.head, made.rows, made.numeric - {len(head) - 1}, made.note)


def unit_note(view: SweepView) -> str:
    return ", in points" if view.objective.unit == "points" else ", in the measure's own unit"


def _difference_row(effect: Effect, at: int) -> list[str]:
    one, unit = effect.differences[at], effect.measure.unit
    verdict = effect.verdicts[at] if effect.verdicts else None
    return [
        effect.measure.title,
        effect.factor.name,
        effect.where,
        show(one.level),
        show(one.reference),
        str(one.estimate.n),
        number(one.estimate.value, unit=unit, signed=True),
        interval(one.estimate, unit=unit),
        str(one.estimate.family),
        p_value(one.p_adjusted),
        p_value(one.p_sign),
        f"{one.improves:.0%}" if math.isfinite(one.improves) else "n/a",
        f"{one.correlation:.2f}" if math.isfinite(one.correlation) else "n/a",
        verdict.badge + needed_in_brackets(verdict) if verdict else "",
    ]


def with_failures(view: SweepView) -> Table | None:
    """The primary differences with failed runs at chance level."""
    rows = [
        _difference_row(one.effect, at)
        for one in view.of(build).with_failures
        for at in range(len(one.effect.differences))
    ]
    if not rows:
        return None
    keep = (1, 3, 4, 5, 6, 7, 8, 13)
    head = ["factor", "level", "against", "n", "difference", "interval", "family", "verdict"]
    return tabulate(
        "The same differences, failed runs counted at chance level",
        head=head,
        words_in=3,
        rows=[[row[at] for at in keep] for row in rows],
        note=f"{view.of(build).with_failures[0].filled} failed runs filled in; else as above: "
        f"paired t intervals, simultaneous over the family{unit_note(view)}. If a verdict differs "
        "from the one above, failures matter to it.",
    )


TOPIC = Topic(section, short="Differences", open=True, tables={"differences": (build, rows)})
