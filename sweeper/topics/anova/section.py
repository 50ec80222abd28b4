"""What each factor explains: shares as points, and each effect against the noise."""

from __future__ import annotations

import math
from typing import Any

from sweeper.analysis.stopping_text import plain
from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld
from sweeper.analysis.wording import percent
from sweeper.drawing.figure import Figure, Section, count, numbers, text
from sweeper.drawing.table import Table, p_value
from sweeper.topics.anova.estimate import Anova, Explained, build, of_noise, rows
from sweeper.topics.anova.text import caution, explained, methods
from sweeper.topics.base import Topic
from sweeper.topics.fairness.text import edges

TITLE = "What each factor explains"
METHOD = (
    "First: each effect's share of what all of them explain, corrected for noise; a share has no "
    "interval that could be trusted over few replicates. Second: each effect against the noise of "
    "single runs, with its 95 % interval."
)


def section(view: SweepView) -> Section | None:
    one = view.of(build)
    if one is None:
        return None
    if isinstance(one, Withheld):
        return Section("explained", TITLE, one.reason, finding=f"Not computed. {one.reason}")
    parts = (*explained(one), caution(one), edges(view), METHOD, plain(view.rule))
    said = " ".join(part for part in parts if part)
    return Section(
        "explained",
        TITLE,
        said,
        (_shares(one), _sizes(one)),
        (("The numbers", table(one)),),
        "panels two",
        next(explained(one)),
    )


def _shares(one: Anova) -> Figure:
    names, shares = _names(one), [100 * effect.share for effect in one.effects]
    points = [
        f"{name}: {percent(effect.share)}" for name, effect in zip(names, one.effects, strict=True)
    ]
    return Figure(
        "explained-shares",
        f"share of what the factors explain in {one.measure.title} ({count([one.n])})",
        f"Share of each factor and interaction in what they explain: {'; '.join(points)}.",
        [_dots(shares, names, hover=points)],
        _layout(names, "share explained (%)"),
    )


def _sizes(one: Anova) -> Figure:
    names = _names(one)
    value, low, high = (
        [100 * of_noise(bound) for bound in bounds]
        for bounds in zip(*map(_bounds, one.effects), strict=True)
    )
    said = [
        f"{name}: {percent(v / 100)} ({percent(a / 100)} to {percent(b / 100)})"
        for name, v, a, b in zip(names, value, low, high, strict=True)
    ]
    dots = _dots(value, names, hover=said)
    dots["error_x"] = {
        "type": "data",
        "symmetric": False,
        "color": "@level0",
        "thickness": 1.5,
        "width": 4,
        "array": numbers([b - v for v, b in zip(value, high, strict=True)]),
        "arrayminus": numbers([v - a for v, a in zip(value, low, strict=True)]),
    }
    return Figure(
        "explained-sizes",
        f"each effect against the noise ({count([one.n])})",
        "Each effect's part of itself and the noise, with its 95 % noncentral F interval: "
        f"{'; '.join(said)}.",
        [dots],
        _layout(names, "part of effect<br>plus noise (%)"),
    )


def _bounds(effect: Explained) -> tuple[float, float, float]:
    return effect.size.value, effect.size.low, effect.size.high


def _names(one: Anova) -> list[str]:
    return [text(effect.name) for effect in one.effects]


def _dots(values: list[float], names: list[str], *, hover: list[str]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "x": numbers(values),
        "y": names,
        "text": hover,
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": "@level0", "symbol": "circle", "size": 10},
    }


def _layout(names: list[str], title: str) -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": title}, "range": [-4, 104]},
        "yaxis": {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": names[::-1],
            "range": [-0.6, len(names) - 0.4],
        },
        "height": 120 + 34 * len(names),
    }


def table(one: Anova) -> Table:
    """The exact table."""
    return Table(
        f"What explains {one.measure.title}: exact analysis of variance",
        (
            "effect",
            "share",
            "n",
            "df",
            "F",
            "p",
            "p (adjusted)",
            "adjusted over",
            "f\N{SUPERSCRIPT TWO}",
            "95 % interval",
            "epsilon",
            "p (unequal noise)",
        ),
        tuple(_row(one, effect) for effect in one.effects),
        frozenset(range(1, 12)) - {7},
        f"{one.n} complete replicates as blocks, {one.cells} cells; noise: mean square "
        f"{one.residual:.3g} with {one.residual_df} degrees of freedom. "
        "f\N{SUPERSCRIPT TWO}: Cohen's, the effect's variance over that of the noise, with its "
        "exact noncentral F interval, each on its own (family of 1). The last two columns repeat "
        "the test for cells that differ in noise (Greenhouse and Geisser), p adjusted likewise. "
        "Clear is what both tests find. Interactions are exploratory.",
    )


def _row(one: Anova, effect: Explained) -> tuple[str, ...]:
    size = effect.size
    return (
        effect.name,
        percent(effect.share),
        str(one.n),
        str(effect.df),
        f"{effect.f:.4g}",
        p_value(effect.p),
        p_value(effect.p_adjusted),
        f"{effect.family} ({effect.adjustment})",
        f"{size.value:.3g}",
        f"{size.low:.3g} to {size.high:.3g}",
        f"{effect.epsilon:.2f}" if math.isfinite(effect.epsilon) else "n/a",
        p_value(effect.p_epsilon),
    )


TOPIC = Topic(section, short="Factors", methods=methods, tables={"anova": (build, rows)})
