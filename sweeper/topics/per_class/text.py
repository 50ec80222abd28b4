"""From which class size on which end of the axis does better, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sweeper.analysis.factors import BATCH_SIZE, Factor, show
from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld
from sweeper.analysis.wording import FIXED, interval, number
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.per_class.estimate import Crossing, PerClass, build


def crossing(found: PerClass) -> str:
    """From which class size on the low end of the axis wins, with its interval."""
    one = found.crossing
    if isinstance(one, Withheld):
        return f"From which class size on {_small(found.factor)} wins cannot be told. {one.reason}"
    return _crossed(found.factor, one, sizes=[row.samples for row in found.classes])


def _small(factor: Factor) -> str:
    return "a small batch" if factor.path == BATCH_SIZE else f"a low {factor.name}"


def _crossed(factor: Factor, one: Crossing, *, sizes: Sequence[float]) -> str:
    size, count = one.samples, len(sizes)
    winner = "fewer" if one.rarer else "more"
    side = one.beyond if one.rarer else count - one.beyond
    low = f"{size.low:.0f}" if size.low >= min(sizes) else "below the rarest class"
    high = f"{size.high:.0f}" if size.high <= max(sizes) else "above the most frequent class"
    return (
        f"{factor.name[:1].upper()}{factor.name[1:]} {show(one.low)} does better than "
        f"{show(one.high)} for classes of {winner} than about {size.value:.0f} training samples "
        f"(95{FIXED}% Fieller interval {low} to {high}, "
        f"n{FIXED}={FIXED}{size.n} replicates): {side} of {count} classes. "
        "It rests on a straight line in the logarithm of the class size."
    )


def worst(view: SweepView, found: PerClass) -> str:
    """The class with the lowest recall at the level to take; empty where none is to be taken."""
    answer = best_levels.question(view)
    if answer is None or answer.withheld or answer.factor.path != found.factor.path:
        return ""
    tops = [one.value for one in answer.best if one.cost.value == 0]
    at = found.factor.levels.index(tops[0]) if tops else 0
    seen = [one for one in found.classes if math.isfinite(one.recall[at].value)]
    if not tops or not seen:
        return ""
    lowest = min(seen, key=lambda one: one.recall[at].value)
    recall = lowest.recall[at]
    return (
        f"Worst class at {found.factor.name} {show(tops[0])}: {lowest.name}, recall "
        f"{number(recall.value)}{FIXED}% ({interval(recall, signed=False)}, "
        f"n{FIXED}={FIXED}{recall.n})."
    )


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    found = view.of(build)
    if found is not None and isinstance(found.crossing, Crossing):
        yield (
            "The class size at which the lowest and the highest level do equally well has a 95 % "
            "interval by Fieller's method (Fieller, 1954) over lines fitted in each replicate."
        )
