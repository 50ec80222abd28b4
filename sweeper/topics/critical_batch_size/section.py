"""Steps to a target over batch size, and the critical batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sweeper.analysis.factors import show
from sweeper.analysis.stopping_text import plain
from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld
from sweeper.analysis.wording import number
from sweeper.drawing.figure import Figure, Mark, Section, axis, count, level_look, numbers, text
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.critical_batch_size import text as said
from sweeper.topics.critical_batch_size.estimate import (
    Reached,
    StepsLine,
    StepsToTarget,
    build,
    rows,
)
from sweeper.topics.critical_batch_size.text import methods

METHOD = (
    "Below the critical batch size a larger batch saves steps almost in proportion; above it, it "
    "mostly uses up samples. It holds for this target, this model and these data: exploratory."
)


def section(view: SweepView) -> Section | None:
    one = view.of(build)
    if one is None or not one.lines:
        return None
    parts = (*said.efficiency(one), METHOD, plain(view.rule))
    intro = "\n".join(part for part in parts if part)
    return Section(
        "efficiency",
        "Steps to a target",
        intro,
        (figure(one),),
        (("The numbers", table(one)),),
        finding=said.critical(one, one.lines[0]),
    )


def figure(one: StepsToTarget) -> Figure:
    looks = [level_look(at) for at in range(len(one.lines))]
    names = [f"{one.by.name} {show(line.at)}" if one.by else "all cells" for line in one.lines]
    steps = [s for line in one.lines for r in line.reached for s in r.steps.values()]
    span = _range(steps) if steps else [0.0, 1.0]
    data = [
        trace
        for line, look, name in zip(one.lines, looks, names, strict=True)
        for trace in _traces(one, line, look=look, name=name, top=10 ** span[1] / 1.1)
    ]
    ns = [len(r.steps) for line in one.lines for r in line.reached]
    return Figure(
        "efficiency",
        f"steps until {one.measure} reaches its target ({count(ns)})",
        f"First evaluated step at the target over {one.x.name}, each replicate, with the fitted "
        "curve. Open triangles never reach it. The table below holds the same numbers.",
        data,
        {
            "xaxis": axis(one.x),
            "yaxis": {"title": {"text": "steps (log scale)"}, "type": "log", "range": span},
        },
        tuple(Mark(name, **look) for name, look in zip(names, looks, strict=True))
        if one.by
        else (),
    )


def _range(steps: Sequence[float]) -> list[float]:
    """Room above for the runs that never reach it."""
    low, high = math.log10(min(steps)), math.log10(max(steps))
    room = 0.12 * (high - low) + 0.1
    return [low - room, high + 2 * room]


def _traces(
    one: StepsToTarget, line: StepsLine, *, look: dict[str, Any], name: str, top: float
) -> list[dict[str, Any]]:
    points = [
        (r.level, step, f"replicate {at}") for r in line.reached for at, step in r.steps.items()
    ]
    lost = [(r.level, f"{len(r.censored)} never") for r in line.reached if r.censored]
    base = {"type": "scatter", "showlegend": False, "name": text(name)}
    found = [
        {
            **base,
            "mode": "markers",
            "x": numbers([one.x.position(x) for x, _, _ in points]),
            "y": numbers([y for _, y, _ in points]),
            "text": [t for _, _, t in points],
            "hovertemplate": "step %{y:.4g}<br>%{text}<extra>%{fullData.name}</extra>",
            "marker": {
                "color": look["colour"],
                "symbol": look["symbol"],
                "size": 8,
                "opacity": 0.8,
            },
        }
    ]
    if lost:
        found.append(
            {
                **base,
                "mode": "markers",
                "x": numbers([one.x.position(x) for x, _ in lost]),
                "y": numbers([top] * len(lost)),
                "text": [t for _, t in lost],
                "hovertemplate": "%{text} reach the target<extra>%{fullData.name}</extra>",
                "marker": {"color": look["colour"], "symbol": "triangle-up-open", "size": 11},
            }
        )
    if line.fitted:
        found.append(
            {
                **base,
                "mode": "lines",
                "hoverinfo": "skip",
                "x": numbers(np.log2([b for b, _ in line.fitted])),
                "y": numbers([s for _, s in line.fitted]),
                "line": {"color": look["colour"], "dash": look["dash"], "width": 1.8},
            }
        )
    return found


def table(one: StepsToTarget) -> Table:
    by = [one.by.name] if one.by else []
    rows = [_row(one, line, reached) for line in one.lines for reached in line.reached]
    head = [
        *by,
        one.x.name,
        f"target ({one.unit or 'value'})",
        "reached by",
        "median steps",
        "median samples",
        "critical batch size",
        "interval",
        "n",
    ]
    return Table(
        f"Steps until {one.measure} reaches the target",
        tuple(head),
        tuple(rows),
        frozenset(range(len(by), len(head))),
        f"Target: {one.rule}. Steps are those of the first evaluation at the target in the best "
        "value so far. The curve S = Smin (1 + Bcrit / B) is fitted to the means of log S, with S "
        "in the middle between that evaluation and the one before; 95 % jackknife t intervals over "
        "replicates, in logs, each on its own. Replicates that never reach it are left out, and "
        "counted.",
    )


def _row(one: StepsToTarget, line: StepsLine, reached: Reached) -> tuple[str, ...]:
    seen, fit = len(reached.steps), line.critical
    told = ("n/a", "n/a", "n/a")
    if not isinstance(fit, Withheld):
        ends = f"{fit.low:.3g} to {fit.high:.3g}" if fit.known else f"none ({fit.note})"
        told = (f"{fit.value:.3g}", ends, str(fit.n))
    return (
        *([show(line.at)] if one.by else []),
        show(reached.level),
        number(line.target, unit=one.unit),
        f"{seen} of {seen + len(reached.censored)}",
        *(
            f"{value:.0f}" if math.isfinite(value) else "n/a"
            for value in (reached.median, reached.samples)
        ),
        *told,
    )


TOPIC = Topic(section, short="Steps", methods=methods, tables={"steps": (build, rows)})
