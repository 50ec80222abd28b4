"""Steps to a target and the critical batch size, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.analysis.factors import show
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.view import SweepView
from sweeper.analysis.withheld import Withheld
from sweeper.analysis.wording import FIXED
from sweeper.topics.critical_batch_size.estimate import StepsLine, StepsToTarget, build


def efficiency(found: StepsToTarget) -> list[str]:
    """The rule of the target, and each line's critical batch size."""
    told = [f"The target is {found.rule}."]
    for line in found.lines:
        told.append(critical(found, line))
    lost = sum(len(one.censored) for line in found.lines for one in line.reached)
    if lost:
        never = "replicate never reaches" if lost == 1 else "replicates never reach"
        told.append(f"{lost} {never} it (open triangles); no fit uses what does not.")
    return told


def critical(found: StepsToTarget, line: StepsLine) -> str:
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


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    found = view.of(build)
    if found is None:
        return
    yield "Steps to a target were counted as by Shallue et al. (2019)."
    if any(isinstance(line.critical, Estimate) for line in found.lines):
        yield (
            "The critical batch size is that of the law of McCandlish et al. (2018), fitted "
            "to the steps, with a jackknife interval over replicates."
        )
