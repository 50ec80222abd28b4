"""Which level to take: what each level costs against the best, and the table of all pairs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from sweeper.analysis.factors import show
from sweeper.analysis.verdicts import needed_in_brackets
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number
from sweeper.drawing.figure import THE_NUMBERS, Figure, Mark, Section, numbers, text
from sweeper.drawing.table import Table, p_value, tabulate
from sweeper.topics.base import Topic
from sweeper.topics.best_levels import text as wording
from sweeper.topics.best_levels.estimate import Level, LevelComparison, build, rows
from sweeper.topics.best_levels.text import methods
from sweeper.topics.differences.section import unit_note

METHOD = (
    "Each mark: how far the mean of a level lies from the best mean; each bar: what the level may "
    "cost against the best, by all pairs at once. A cross is a level that is worse than another."
)
MOST_LEVELS = 28  # of a factor, whose 378 pairs are listed
LOOKS = {"may be best": ("@level0", "circle"), "beaten": ("@soft", "x")}


def section(view: SweepView) -> Section | None:
    found = view.of(build)
    if not found or view.to_come:  # a verdict waits for the last run
        return None
    told = [wording.answer(one) for one in found[1:]]  # the first is the headline
    return Section(
        "best",
        "Which level to take",
        " ".join([METHOD, *told]),
        tuple(_figure(one) for one in found if one.n),
        ((THE_NUMBERS, table(view)),),
        "panels two",
    )


def _figure(one: LevelComparison) -> Figure:
    """A row a level: its mean against the best mean, and the interval of its cost."""
    name, unit = one.factor.name, one.measure.unit
    where = f", {one.condition}" if one.condition else ""
    names = [text(show(level.value)) for level in one.levels]
    return Figure(
        f"best-{one.factor.path}",
        f"{name}: {one.measure.title} against the best (n = {one.n}{where})",
        f"{wording.answer(one)} The table below holds the same numbers.",
        [_marks(one, names, beaten=beaten) for beaten in (False, True)],
        {
            "xaxis": {
                "title": {"text": text(f"{unit or one.measure.title} against the best")},
                "zeroline": True,
            },
            "yaxis": {
                "type": "category",
                "title": {"text": text(name)},
                "categoryorder": "array",
                "categoryarray": names[::-1],
                "range": [-0.6, len(names) - 0.4],
                "showgrid": False,
            },
            "height": 120 + 34 * len(names),
        },
        tuple(Mark(label, *look) for label, look in LOOKS.items()),
    )


def _marks(one: LevelComparison, names: list[str], *, beaten: bool) -> dict[str, Any]:
    mine = [
        (name, level)
        for name, level in zip(names, one.levels, strict=True)
        if level.beaten is beaten
    ]
    label = "beaten" if beaten else "may be best"
    colour, symbol = LOOKS[label]
    costs = [level.cost for _, level in mine]
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "name": label,
        "x": numbers([cost.value for cost in costs]),
        "y": [name for name, _ in mine],
        "text": [_hover(one, level) for _, level in mine],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": colour, "symbol": symbol, "size": 11},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "color": colour,
            "thickness": 1.5,
            "width": 4,
            "array": numbers([cost.high - cost.value for cost in costs]),
            "arrayminus": numbers([cost.value - cost.low for cost in costs]),
        },
    }


def _hover(one: LevelComparison, level: Level) -> str:
    cost = f"{text(show(level.value))}: {interval(level.cost, unit=one.measure.unit)}"
    if level.beaten:
        return f"{cost} against the best; worse than {text(show(level.standing.by))}"
    return f"{cost} against the best; may be best"


def table(view: SweepView) -> Table:
    """Every pair of every choice."""
    found = view.of(build)
    rows = [row for one in found for row in _rows(one)]
    made = tabulate(
        f"All pairs of levels on {view.objective.title}",
        head=["factor", "level", "minus", "n", "difference", "interval", "p (adjusted)", "verdict"],
        rows=rows,
        words_in=3,
        note="Paired t intervals within replicates that have every level, each pair with its own "
        f"variance, simultaneous over the pairs of a factor (Bonferroni){unit_note(view)}; p is "
        "adjusted the same way. An undecided row says about how many more replicates would decide "
        f"a difference of the size seen, and the time for them here. {view.rule.method()}".rstrip()
        + "".join(map(_left_out, found)),
    )
    return Table(made.caption, made.head, made.rows, made.numeric - {7}, made.note)


def _listed(one: LevelComparison) -> list[Any]:
    """The levels whose pairs are listed, in their order: those with the best means of too many."""
    behind = one.pairs.mean.max(axis=0)
    kept = set(np.argsort(behind, kind="stable")[:MOST_LEVELS].tolist())
    return [level for at, level in enumerate(one.pairs.levels) if at in kept]


def _left_out(one: LevelComparison) -> str:
    levels = len(one.pairs.levels)
    if levels <= MOST_LEVELS:
        return ""
    return (
        f" Of {one.factor.name}, the pairs of the {MOST_LEVELS} levels with the best means of "
        f"{levels}; `sweeper export` has all."
    )


def _rows(one: LevelComparison) -> Iterator[list[str]]:
    unit = one.measure.unit
    for level, other in combinations(_listed(one), 2):
        estimate, verdict = one.pairs.estimate(level, other), one.verdicts[level, other]
        yield [
            one.factor.name,
            show(level),
            show(other),
            str(estimate.n),
            number(estimate.value, unit=unit, signed=True),
            interval(estimate, unit=unit),
            p_value(min(estimate.p * estimate.family * one.pairs.shares, 1.0)),
            verdict.badge + needed_in_brackets(verdict),
        ]


TOPIC = Topic(section, short="Levels", open=True, methods=methods, tables={"best": (build, rows)})
