"""A table of all cells by every objective and constraint, the Pareto set first."""

from __future__ import annotations

from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import interval, number
from sweeper.drawing.figure import Section
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.goals import text as said
from sweeper.topics.goals.estimate import Goals, JudgedCell, build, rows
from sweeper.topics.tradeoff.section import named

MOST_ROWS = 400


def section(view: SweepView) -> Section | None:
    found = view.of(build)
    if found is None:
        return None
    title = "Pareto set" if len(found.objectives) > 1 else "Constraints"
    reading = (
        "Cells are compared with others under the same conditions and, with constraints, with "
        "those that satisfy them. Within noise: the simultaneous 95 % intervals of all pairs do "
        "not show another cell to be better in every objective."
    )
    return Section(
        "goals", title, said.summary(found), (), ((title, table(view, found)),), reading=reading
    )


def table(view: SweepView, found: Goals) -> Table:
    several = len(found.objectives) > 1
    splits = dict.fromkeys((found.split, "test"))
    heads = [
        head
        for split in splits
        for one in found.objectives
        for head in (f"{one.title}, {split}", "95 % interval")
    ]
    order = sorted(found.candidates, key=lambda one: (not one.front, not one.near, not one.allowed))
    return Table(
        "Each cell by every objective and constraint",
        (
            "cell",
            *heads,
            *(one.text for one in found.constraints),
            *(("Pareto", "within noise") if several else ()),
        ),
        tuple(_row(view, found, one, several=several) for one in order[:MOST_ROWS]),
        frozenset(range(1, 1 + len(heads))),
        f"n = {found.n} replicates; t intervals of each mean alone. The Pareto set and the "
        f"constraints are read on {found.split}.",
    )


def _row(view: SweepView, found: Goals, one: JudgedCell, *, several: bool) -> tuple[str, ...]:
    values = [*one.chosen, *(one.reported if found.split != "test" else ())]
    measures = [*found.objectives, *found.objectives]
    cells = [
        text
        for measure, value in zip(measures, values, strict=False)
        for text in (
            number(value.value, unit=measure.unit),
            interval(value, unit=measure.unit, signed=False),
        )
    ]
    marks = [*one.satisfies, *((one.front, one.near) if several else ())]
    return (named(view, one.cell), *cells, *("yes" if mark else "no" for mark in marks))


TOPIC = Topic(section, open=True, tables={"goals": (build, rows)})
