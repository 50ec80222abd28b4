"""What the observers measured, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sweeper.analysis.factors import show
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.measures import words
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import capitalised, interval, joined, number
from sweeper.topics.observed.estimate import QUOTIENTS, ObservedNumber, ObservedNumbers, build

MINORITY = "group:minority"


def finding(found: ObservedNumbers) -> str:
    """The first of the minority's numbers that surely changes, with its largest sure change."""
    for one in found.numbers:
        if one.target == MINORITY and (sure := _sure(found, one)):
            level, change = max(sure, key=lambda pair: abs(pair[1].value))
            return (
                f"{capitalised(one.title)}: {number(change.value, unit='', signed=True)} "
                f"({interval(change, unit='')}) at {found.factor.name} {show(level)} "
                f"from {_reference(found)}."
            )
    return f"No level surely differs from {_reference(found)} for the minority."


def _sure(found: ObservedNumbers, one: ObservedNumber) -> list[tuple[Any, Estimate]]:
    """The levels whose change is surely not 0, with the change."""
    pairs = zip(found.factor.levels, one.changes, strict=True)
    return [
        (level, change)
        for level, change in pairs
        if change is not None and change.known and (change.low > 0 or change.high < 0)
    ]


def _reference(found: ObservedNumbers) -> str:
    return f"{found.factor.name} {show(found.factor.reference)}"


def methods(view: SweepView) -> Iterator[str]:
    """The sentence for the methods paragraph; none where nothing was observed."""
    found = view.of(build)
    if found is None:
        return
    names = list(dict.fromkeys(words(one.metric) for one in found.numbers))
    yield f"Beside the metrics, {joined(names)} were observed at the end of each run."
    if any(one.metric in QUOTIENTS for one in found.numbers):
        yield (
            "Quotients such as the gradient noise scale are means over runs divided by means, with "
            "intervals by Fieller's method (Fieller, 1954)."
        )
