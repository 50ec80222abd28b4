"""Which test examples change between the ends of the axis: counts by class, and the places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.analysis.factors import show
from sweeper.analysis.view import SweepView
from sweeper.drawing.figure import Section
from sweeper.drawing.table import Table
from sweeper.topics.base import Topic
from sweeper.topics.prediction_changes.estimate import PredictionChanges, build, rows
from sweeper.topics.prediction_changes.text import changes, finding
from sweeper.topics.variance_sources import estimate as variance_sources

MOST_PLACES = 12  # named in a field of the table
METHOD = (
    "An example is gained when most runs have it wrong at the first level and right at the last, "
    "and lost the other way. Where about as many change as luck alone would change, the list is "
    "mostly luck."
)


def section(view: SweepView) -> Section | None:
    if not view.of(build):
        return None
    sources = view.of(variance_sources.build)
    thing = sources.thing if sources else "test examples"
    said = [changes(one, thing=thing) for one in view.of(build)]
    return Section(
        "examples",
        "Which test examples change",
        " ".join([*said, METHOD]),
        tables=(("Counts by class", table(view.of(build))),),
        finding=finding(view.of(build)[0], thing=thing),
    )


def table(found: Sequence[PredictionChanges]) -> Table:
    """Counts by class, with the places of the first that change."""
    rows = tuple(row for one in found for row in _rows(one))
    return Table(
        "Test examples that change, by class",
        (
            "at",
            "class",
            "from",
            "to",
            "n",
            "test examples",
            "gained",
            "lost",
            "by luck, about",
            "gained: places in the test split",
            "lost: places in the test split",
        ),
        rows,
        frozenset(range(4, 9)),
        f"Places count from 0, in the data set's own order; at most {MOST_PLACES} a field, "
        "`sweeper export` has all. By luck: how many would change between two repeats of one "
        "level, from the share of runs that have each example right (binomial, no interval).",
    )


def _rows(one: PredictionChanges) -> Iterator[tuple[str, ...]]:
    at = f"{one.held.name} {show(one.at)}" if one.held is not None else "mean over all"
    for group in one.classes:
        yield (
            at,
            group.name,
            show(one.low),
            show(one.high),
            str(one.n),
            str(group.support),
            str(len(group.gained)),
            str(len(group.lost)),
            f"{group.chance:.1f}",
            _places(group.gained),
            _places(group.lost),
        )


def _places(places: Sequence[int]) -> str:
    more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
    return ", ".join(map(str, places[:MOST_PLACES])) + more if places else "none"


TOPIC = Topic(section, short="Examples", tables={"examples": (build, rows)})
