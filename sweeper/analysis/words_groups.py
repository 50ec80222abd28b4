"""What is said of classes: who gains at which level, what the majority pays, what batches hold."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.analysis.absence import MINORITY, Absence
from sweeper.analysis.classes import ByClass, Crossing
from sweeper.analysis.efficiency import Efficiency, Line
from sweeper.analysis.exchange import Exchange, Price
from sweeper.analysis.factors import BATCH_SIZE, RATIO, Factor, show
from sweeper.analysis.verdicts import FIXED, number
from sweeper.analysis.withheld import Withheld


def where(held: Factor | None, at: object) -> str:
    """`at train ratio 0.05 (the strongest imbalance)`."""
    if held is None:
        return ""
    why = " (the strongest imbalance)" if held.path == RATIO else ""
    return f"at {held.name} {show(at)}{why}"


def crossing(found: ByClass) -> str:
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


def exchange(found: Exchange) -> str:
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


def priced(one: Price, *, names: Sequence[str], of: int) -> str:
    """`A minority error counts as 2 majority errors: 3 of 8 cells may be best: ...`"""
    cells = "; ".join(names[:6]) + (f"; and {len(names) - 6} more" if len(names) > 6 else "")
    return (
        f"{weight(one.weight)}. {len(one.best)} of {of} cells may be best "
        f"(n{FIXED}={FIXED}{one.n}, each against {one.family} others): {cells}."
    )


def weight(value: float) -> str:
    """A price in words."""
    if abs(value - 1) < 1e-9:
        return "A minority error counts as much as a majority error"
    return f"A minority error counts as {number(value, unit='')} majority errors"


def absence(found: Absence) -> str:
    """The ends of the minority's lines, at the strongest imbalance."""
    by = found.by.levels[0] if found.by else None
    line = found.of(MINORITY, by=by)
    if not line:
        return ""
    held = f" {where(found.by, by)}" if found.by else ""
    ends = [line[0]] if len(line) == 1 else [line[0], line[-1]]
    told = " and ".join(f"{share(one.without)} at {found.x.name} {show(one.x)}" for one in ends)
    return f"Batches without any minority sample{held}: {told}."


def share(value: float) -> str:
    """A share as a percentage that does not hide small ones."""
    if 0 < value < 0.0005:
        return f"under 0.05{FIXED}%"
    digits = ".1f" if value < 0.1 else ".0f"
    return f"{100 * value:{digits}}{FIXED}%"


def efficiency(found: Efficiency) -> list[str]:
    """The rule of the target, and each line's critical batch size."""
    told = [f"The target is {found.rule}."]
    for line in found.lines:
        told.append(critical(found, line))
    lost = sum(len(one.censored) for line in found.lines for one in line.reached)
    if lost:
        never = "replicate never reaches" if lost == 1 else "replicates never reach"
        told.append(f"{lost} {never} it (open triangles); no fit uses what does not.")
    return told


def critical(found: Efficiency, line: Line) -> str:
    """`Critical batch size at train ratio 1: about 12 (95 % jackknife interval 8 to 19, n = 5).`"""
    held = f" at {found.by.name} {show(line.at)}" if found.by else ""
    one = line.critical
    if isinstance(one, Withheld):
        return f"Critical batch size{held}: not told. {one.reason}"
    n = f"n{FIXED}={FIXED}{one.n} replicates"
    if not one.known:
        return f"Critical batch size{held}: about {one.value:.3g}, no interval ({one.note}; {n})."
    interval = f"95{FIXED}% jackknife interval {one.low:.3g} to {one.high:.3g}"
    return f"Critical batch size{held}: about {one.value:.3g} ({interval}, {n})."
