"""Trends and interaction: the heat map, and the slopes in numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sweeper.analysis.factors import show
from sweeper.analysis.trend import Trend
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number
from sweeper.drawing.figure import THE_NUMBERS, Figure, Section, count, drawn, folds, numbers, text
from sweeper.drawing.table import Table, p_value, tabulate
from sweeper.topics.base import Topic
from sweeper.topics.differences.section import unit_note
from sweeper.topics.response import estimate as response
from sweeper.topics.trends.estimate import Dependence, Slope, build, rows


def heatmap(view: SweepView) -> Figure | None:
    """The difference from the reference level within each level of the second factor.

    Equal rows mean no interaction.
    """
    if view.x is None or view.by is None or not len(view.of(response.build).curve):
        return None
    x, by, objective = view.x, view.by, view.objective
    rows = view.of(response.build).curve[view.of(response.build).curve["measure"] == objective.name]
    known = {(row["by"], row["x"]): row["mean"] for _, row in rows.iterrows()}
    mean = np.array([[known[line, level] for level in x.levels] for line in by.levels], dtype=float)
    change = mean - mean[:, [x.levels.index(x.reference)]]
    most = float(np.nanmax(np.abs(change), initial=1e-9))
    labels = [
        [_heat_label(mean[i, j], change[i, j], objective.unit) for j in range(len(x.levels))]
        for i in range(len(by.levels))
    ]
    return Figure(
        "interaction",
        f"Change in {objective.title} from {x.name} {show(x.reference)}, row by row "
        f"({count(rows['n'])})",
        f"Heat map of {x.name} by {by.name}. Rows that look alike mean that the two factors do not "
        "interact. The table below holds the same numbers.",
        [
            {
                "type": "heatmap",
                "z": [numbers(row) for row in change],
                "zmin": -most,
                "zmax": most,
                "x": [text(show(one)) for one in x.levels],
                "y": [text(show(one)) for one in by.levels],
                "text": labels,
                "texttemplate": "%{text}",
                "hovertemplate": "%{text}<extra></extra>",
                "xgap": 3,
                "ygap": 3,
                "colorscale": "@diverging",
                "reversescale": objective.direction == "minimize",
                "colorbar": {"title": {"text": objective.unit or "change"}, "thickness": 12},
            }
        ],
        {
            "xaxis": {"type": "category", "title": {"text": text(x.name)}, "showgrid": False},
            "yaxis": {"type": "category", "title": {"text": text(by.name)}, "showgrid": False},
            "height": 150 + 62 * len(by.levels),
        },
    )


def _heat_label(mean: float, change: float, unit: str) -> str:
    if not math.isfinite(mean):
        return "no run"
    digits = ".1f" if unit == "points" else ".3g"
    step = "" if not change or not math.isfinite(change) else f"<b>{change:+{digits}}</b><br>"
    return f"{step}{mean:{digits}}".replace("-", "\N{MINUS SIGN}")


def section(view: SweepView) -> Section | None:
    figure, slopes = heatmap(view), slope_table(view)
    if figure is None and slopes is None:
        return None
    intro = (
        "Each field: the change from the reference level of its row (bold) and the mean itself. "
        "Rows that look alike mean that the factors do not interact."
        if figure
        else ""
    )
    label = "The average change a step" if figure else ""
    behind = folds((THE_NUMBERS, heat_table(view)), (label, slopes))
    finding = "The average change a step, and whether the factors act together."
    title = "Trends and interaction"
    return Section("interaction", title, intro, drawn([figure]), behind, finding=finding)


def heat_table(view: SweepView) -> Table | None:
    """The numbers of the heat map: the change from the reference level, and the mean."""
    if view.x is None or view.by is None or not len(view.of(response.build).curve):
        return None
    unit = view.objective.unit
    rows = view.of(response.build).curve[
        view.of(response.build).curve["measure"] == view.objective.name
    ]
    mean = {(row["by"], row["x"]): row["mean"] for _, row in rows.iterrows()}
    lines = [
        [show(by), *[_heat(mean[by, x], mean[by, view.x.reference], unit) for x in view.x.levels]]
        for by in view.by.levels
    ]
    return tabulate(
        f"Change in {view.objective.title} from {view.x.name} {show(view.x.reference)} "
        "(the mean in brackets)",
        head=[view.by.name, *[f"{view.x.name} {show(x)}" for x in view.x.levels]],
        rows=lines,
        words_in=1,
        note="Differences of the means over all complete runs of each field; intervals are in the "
        "table of differences.",
    )


def _heat(mean: float, base: float, unit: str) -> str:
    return f"{number(mean - base, unit=unit, signed=True)} ({number(mean, unit=unit)})"


def slope_table(view: SweepView) -> Table | None:
    """Slopes over all, by line, and the interaction."""
    rows = [row for one in view.of(build).slopes for row in _slope_rows(one)]
    rows += _dependence_rows(view.of(build).dependence)
    if not rows:
        return None
    return tabulate(
        "The average change a step, and interaction, in numbers",
        words_in=3,
        rows=rows,
        head=["measure", "per", "at", "n", "change", "95 % interval", "family", "p"],
        note="The average change a step, fitted in each replicate; the t interval is over "
        "replicates, simultaneous over the family where that is not 1. Which level to take follows "
        f"from the pairs of levels, not from a slope{unit_note(view)}. "
        f"{view.rule.method()}".rstrip(),
    )


def _dependence_rows(one: Dependence | None) -> list[list[str]]:
    if one is None:
        return []
    at, unit = f"{one.by.name} {show(one.strong)} minus {show(one.weak)}", one.measure.unit
    return [
        [
            one.measure.title,
            f"{show(level)} against {show(one.reference)}",
            at,
            str(estimate.n),
            number(estimate.value, unit=unit, signed=True),
            interval(estimate, unit=unit),
            str(estimate.family),
            p_value(estimate.p),
        ]
        for level, estimate in zip(one.levels, one.estimates, strict=True)
    ]


def _slope_rows(one: Slope) -> list[list[str]]:
    def row(at: str, line: Trend | Any) -> list[str]:
        estimate, unit = line.estimate, one.measure.unit
        return [
            one.measure.title,
            one.factor.step,
            at,
            str(estimate.n),
            number(estimate.value, unit=unit, signed=True),
            interval(estimate, unit=unit),
            str(estimate.family),
            p_value(estimate.p),
        ]

    rows = [row(one.condition or "mean over all", one.overall)]
    rows += [row(show(line.at), line) for line in one.lines]
    if one.interaction is not None:
        at = f"{show(one.interaction.strong)} minus {show(one.interaction.weak)}"
        rows.append(row(at, one.interaction))
    return rows


TOPIC = Topic(section, short="Trends", tables={"slopes": (build, rows)})
