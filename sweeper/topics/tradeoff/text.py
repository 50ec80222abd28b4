"""The trade-off between minority and majority accuracy, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, number
from sweeper.topics.tradeoff.estimate import ErrorCost, TradeOff, build

MOST_REGIONS = 24  # cells drawn with their region and their label


def exchange(found: TradeOff) -> str:
    """How many cells are on the front, in a sentence."""
    front, cells = sum(one.pareto for one in found.spots), len(found.spots)
    verb = "is" if front == 1 else "are"
    apart = ""
    if found.apart:
        named = " and ".join(found.apart)
        apart = f" Cells are compared at each {named} by itself: the data are no choice."
    text = (
        f"{front} of {cells} cells {verb} in the Pareto set: no other cell's means are as good in "
        f"both and better in one. Means carry noise, so this is a description.{apart}"
    )
    return f"{text} {found.note}".strip()


def priced(one: ErrorCost, *, names: Sequence[str], of: int) -> str:
    """`A minority error counts as 2 majority errors: 3 of 8 cells may be best: ...`"""
    cells = "; ".join(names[:6]) + (f"; and {len(names) - 6} more" if len(names) > 6 else "")
    return (
        f"{weight(one.weight)}. {len(one.best)} of {of} cells may be best "
        f"(n{FIXED}={FIXED}{one.n}, {one.family} pairs at once): {cells}."
    )


def weight(value: float) -> str:
    """A price in words."""
    if abs(value - 1) < 1e-9:
        return "A minority error counts as much as a majority error"
    return f"A minority error counts as {number(value, unit='')} majority errors"


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    found = view.of(build)
    if found is None:
        return
    if len(found.spots) <= MOST_REGIONS and any(one.region.outline for one in found.spots):
        yield (
            "Joint 95 % regions of the two mean accuracies of a cell are by Hotelling's T squared "
            "(Hotelling, 1931)."
        )
    if found.prices:
        yield (
            f"At each of {len(found.prices)} prices of a minority error, one at a time, the cells "
            "that are not worse than another were found by the same joint intervals over all pairs."
        )
