"""Tuning curves in short sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.analysis.factors import show
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, joined, number
from sweeper.topics.tuning_curve.estimate import Curve, Tuning, build

BASIS = "The best and the median runs are a description; the bands hold for all levels at once."


def headline(found: Tuning) -> str:
    """What tuning reaches at each level, and what a reader would see who does not tune."""
    bests, medians = [one.best for one in found.curves], [one.median for one in found.curves]
    levels = joined([show(one.level) for one in found.curves])
    factor, title = found.factor.name, found.measure.title
    return (
        f"Tuned, the best runs at {factor} {levels} reach {_listed(found, bests)} {title}, "
        f"at most {_apart(found, bests)}. Untuned, the median runs would rank "
        f"{' > '.join(show(one.level) for one in _ranked(found))} ({_listed(found, medians)} "
        f"at {levels}), up to {_apart(found, medians)}."
    )


def more(found: Tuning) -> Iterator[str]:
    """How sure that is, and what was counted."""
    yield certainty(found)
    if found.lost:
        yield (
            f"{found.lost} of {found.runs} runs failed or were stopped early. Each counts with its "
            "last value, for it is a trial that was paid for."
        )


def certainty(found: Tuning) -> str:
    """Which levels are ahead at which number of trials, by bands that hold at once."""
    most = int(found.trials[-1])
    if not found.apart:
        return (
            f"No level is ahead of another: from 1 to {most} trials a level, the 95{FIXED}% bands "
            "of all levels overlap."
        )
    told = [
        f"{show(better)} is ahead of {show(worse)} from {n} trial{'s' if n > 1 else ''} on"
        for better, worse, n in found.apart
    ]
    return f"By 95{FIXED}% bands of up to {most} trials a level, {joined(told)}."


def rates(found: Tuning) -> str:
    """How wide the range of good learning rates is at each level; empty where there is none."""
    known = [(one, one.rates) for one in found.curves if one.rates is not None]
    if found.rate is None or not known:
        return ""
    told = [
        f"{number(mine.low, unit='')} to {number(mine.high, unit='')} at {show(one.level)}"
        f" ({mine.runs} runs, {mine.part:.0%} of the log range)".replace("%", f"{FIXED}%")
        for one, mine in known
    ]
    return (
        f"Learning rates of the runs within {_size(found, found.near)} of their level's best: "
        f"{joined(told)}."
    )


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph."""
    found = view.of(build)
    if found is not None:
        yield (
            "Tuning curves are the median of the best of n trials of random search, from the runs "
            "of a level, with simultaneous 95 % bands over n and levels (Lourie et al., 2024); "
            "runs that failed count with their last value."
        )


def _ranked(found: Tuning) -> list[Curve]:
    sign = 1 if found.measure.direction == "minimize" else -1
    return sorted(found.curves, key=lambda one: sign * one.median)


def _listed(found: Tuning, numbers: Sequence[float]) -> str:
    """`72.1, 74.0 and 74.9 %`."""
    unit = found.measure.unit
    sign = f"{FIXED}%" if unit == "points" else ""
    return joined([number(one, unit=unit) for one in numbers]) + sign


def _apart(found: Tuning, numbers: Sequence[float]) -> str:
    return f"{_size(found, max(numbers) - min(numbers))} apart"


def _size(found: Tuning, value: float) -> str:
    unit = found.measure.unit
    return f"{number(value, unit=unit)} {unit}".strip()
