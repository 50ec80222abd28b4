"""The set of best levels: one figure a factor, and what beat or would separate each pair."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from sweeper.analysis.factors import Factor, show
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import number
from sweeper.drawing.figure import Figure, Mark, Section, count, text
from sweeper.drawing.table import Table, p_value
from sweeper.topics.base import Topic
from sweeper.topics.best_levels.estimate import Against, BestSet, build, rows
from sweeper.topics.best_levels.text import best_levels, methods, separating
from sweeper.topics.fairness.text import edges

METHOD = (
    "A level stays unless another beats it within replicates. The level that is truly best is left "
    "in at least 95 times in 100. Levels that stay are not shown to be equal."
)


def section(view: SweepView) -> Section | None:
    if not view.of(build):
        return None
    overall = [one for one in view.of(build) if one.held is None]
    said = [part for one in overall for part in (best_levels(one), separating(one)) if part]
    return Section(
        "best",
        "Which levels may be the best",
        " ".join(part for part in (edges(view, start="Withheld"), *said, METHOD) if part),
        tuple(_figure(view, one.factor) for one in overall),
        (("The numbers", table(view)),),
        "panels two",
    )


def _figure(view: SweepView, factor: Factor) -> Figure:
    """A row over all, and one for each level that is held: filled stays, a cross is beaten."""
    sets = [one for one in view.of(build) if one.factor is factor]
    sets.sort(key=lambda one: one.held is None)  # the last row is drawn on top
    names = [_row_name(one) for one in sets]
    return Figure(
        f"best-{factor.path}",
        f"{factor.name}: may be best for {view.objective.title} ({count(one.n for one in sets)})",
        f"Which levels of {factor.name} may be the best: {' '.join(map(best_levels, sets))} "
        f"{edges(view, start='Withheld')}".rstrip(),
        [_marks(sets, names, stays=stays) for stays in (True, False)],
        {
            "xaxis": {
                "type": "category",
                "title": {"text": text(factor.name)},
                "categoryorder": "array",
                "range": [-0.5, len(factor.levels) - 0.5],
                "categoryarray": [text(show(level)) for level in factor.levels],
            },
            "yaxis": {
                "type": "category",
                "categoryorder": "array",
                "showgrid": False,
                "categoryarray": names,
                "range": [-0.6, len(names) - 0.4],
            },
            "height": 130 + 34 * len(names),
        },
        (Mark("may be best", "@level0", "circle"), Mark("beaten", "@soft", "x")),
    )


def _row_name(one: BestSet) -> str:
    return text(f"{one.held.name} {show(one.at)}" if one.held else "mean over all")


def _marks(sets: Sequence[BestSet], names: Sequence[str], *, stays: bool) -> dict[str, Any]:
    points = [
        (text(show(level)), name, _hover(one, level))
        for one, name in zip(sets, names, strict=True)
        for level in one.factor.levels
        if (level in one.kept) is stays
    ]
    look = {"color": "@level0", "symbol": "circle", "size": 13}
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": "may be best" if stays else "beaten",
        "x": [x for x, _, _ in points],
        "y": [y for _, y, _ in points],
        "text": [said for _, _, said in points],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": look if stays else {"color": "@soft", "symbol": "x", "size": 9},
    }


def _hover(one: BestSet, level: Any) -> str:
    against = one.beaten.get(level)
    if against is None:
        return f"{text(show(level))}: may be best"
    lead = number(against.lead, unit=one.measure.unit)
    return f"{text(show(level))}: beaten by {text(show(against.ahead))}, which leads by {lead}"


def table(view: SweepView) -> Table:
    """Each beaten level with what beat it, then the pairs that nothing separates."""
    rows = [row for one in view.of(build) for row in _rows(one)]
    return Table(
        f"Best levels on {view.objective.title}",
        (
            "factor",
            "at",
            "level",
            "finding",
            "other level",
            "n",
            "other leads by",
            "p (adjusted)",
            "n to separate",
            "family",
        ),
        tuple(rows),
        frozenset(range(5, 10)),
        f"{_methods(view.of(build))}. Each pair has its own variance; p is multiplied by the "
        "family, the number of other levels. n to separate: about how many replicates would, for a "
        "difference of the size seen. No mean of a winner is given: it flatters itself.",
    )


def _methods(sets: Sequence[BestSet]) -> str:
    told = "; ".join(dict.fromkeys(one.method for one in sets))
    return told[:1].upper() + told[1:]


def _rows(one: BestSet) -> Iterator[tuple[str, ...]]:
    start = (one.factor.name, _row_name(one) + (" (withheld)" if one.withheld else ""))
    for level, against in one.beaten.items():
        yield (*start, show(level), "beaten by", *_numbers(one, against))
    for tie in one.ties:
        yield (*start, show(tie.behind), "not separated from", *_numbers(one, tie))
    if not one.ties:
        alone = [show(level) for level in one.kept]
        yield (
            *start,
            *alone,
            "not beaten",
            "none",
            str(one.n),
            "n/a",
            "n/a",
            "n/a",
            str(one.family),
        )


def _numbers(one: BestSet, against: Against) -> tuple[str, ...]:
    unit = one.measure.unit
    lead = number(against.lead, unit=unit, signed=True)
    size = f"{lead} {unit}".strip() if math.isfinite(against.lead) else "n/a"
    return (
        show(against.ahead),
        str(against.n),
        size,
        p_value(against.p),
        str(against.needed) if against.needed else "n/a",
        str(one.family),
    )


TOPIC = Topic(
    section, short="Best levels", open=True, methods=methods, tables={"best": (build, rows)}
)
