"""What the draw of the training subset adds to the spread of runs, of two sweeps."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.analysis.wording import FIXED, number
from sweeper.drawing.figure import Section
from sweeper.drawing.table import Table
from sweeper.topics.several.estimate import Several
from sweeper.topics.subset_variance.estimate import Draw

ID = "draws"


def section(found: Several) -> Section | None:
    if not found.draws:
        return None
    return Section(
        ID,
        "Luck of the subset and luck of the start",
        "\n".join(_words(found)),
        tables=(("The numbers", table(found)),),
        finding="How much the draw of the training subset adds to the spread of runs.",
    )


def _words(found: Several) -> Iterator[str]:
    yield (
        "One sweep draws the training subset anew in each replicate, the other trains all "
        "replicates on one subset. What the spread loses is what the draw gives; the rest is the "
        "luck of initialisation and order. Exploratory."
    )
    for one in found.draws:
        if one.measure == found.measure:
            yield (
                f"The draw gives {_share(one.share)} of the variance of {one.measure.title} "
                f"between runs ({_share(one.low)} to {_share(one.high)}; {one.method}): the "
                f"standard deviation is {number(one.redrawn, unit=one.measure.unit)} redrawn "
                f"({one.one}) and {number(one.fixed, unit=one.measure.unit)} fixed ({one.two})."
            )


def _share(value: float) -> str:
    return "n/a" if value != value else f"{100 * value:.0f}{FIXED}%"


def table(found: Several) -> Table:
    rows = [
        (
            one.measure.title,
            one.one,
            one.two,
            str(one.cells),
            str(one.n),
            number(one.redrawn, unit=one.measure.unit),
            number(one.fixed, unit=one.measure.unit),
            _share(one.share),
            f"{_share(one.low)} to {_share(one.high)}",
        )
        for one in found.draws
    ]
    return Table(
        "Spread of runs with the subset redrawn and fixed",
        (
            "measure",
            "redrawn",
            "fixed",
            "cells",
            "n",
            "sd redrawn",
            "sd fixed",
            "share of the draw",
            "95 % interval",
        ),
        tuple(rows),
        frozenset(range(3, 9)),
        _method(found.draws) + ". Runs that never learn have no spread, which no draw explains.",
    )


def _method(draws: tuple[Draw, ...]) -> str:
    """The methods of the rows, each once: most rows differ in their counts alone."""
    return "; ".join(dict.fromkeys(one.method for one in draws))
