"""From which class size on which end of the axis does better, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.analysis.factors import BATCH_SIZE, Factor, show
from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld
from sweeper.analysis.wording import FIXED
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


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    found = view.of(build)
    if found is not None and isinstance(found.crossing, Crossing):
        yield (
            "The class size at which the lowest and the highest level do equally well has a 95 % "
            "interval by Fieller's method (Fieller, 1954) over lines fitted in each replicate."
        )
