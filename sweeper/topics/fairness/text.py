"""Tuning and the fairness of claims, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.analysis.factors import Factor, show
from sweeper.analysis.intervals import LEAST
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, joined
from sweeper.topics.fairness.estimate import Claim, Fairness, Tuned, build, withheld


def badge(claim: Claim) -> str:
    """`fair`, or `not shown to be fair: equal budget, complete blocks`."""
    if claim.fair:
        return "fair"
    return f"not shown to be fair: {', '.join(one.name for one in claim.missing)}"


def reasons(claim: Claim) -> str:
    """What is missing, in sentences; for a fair claim, what holds."""
    return " ".join(one.reason for one in claim.missing or claim.conditions)


def holds(value: bool | None) -> str:
    return "does not apply" if value is None else "yes" if value else "no"


def finding(found: Fairness) -> str:
    """How many comparisons are fair, and what the others lack."""
    fair, count = sum(one.fair for one in found.claims), len(found.claims)
    missing = dict.fromkeys(lack.name for one in found.claims for lack in one.missing)
    if not count:
        return tuning(found)[0]
    if fair == count:
        return "The comparison is fair." if count == 1 else f"All {count} comparisons are fair."
    start = f"{fair} of {count} comparisons are fair"
    if count == 1:
        start = "The comparison is not shown to be fair"
    return f"{start}; not met: {joined(list(missing))}."


def tuning(found: Fairness) -> list[str]:
    """How the cells were tuned, in short sentences."""
    if not found.cells:
        return ["No nuisance factor was tuned in this sweep."]
    names = joined([axis.name for axis in found.nuisance])
    few, many = (pick(len(one.candidates) for one in found.cells) for pick in (min, max))
    count = f"{few}" if few == many else f"{few} to {many}"
    told = [f"For each cell, {count} values of {names} were tried on replicates of their own."]
    if not found.equal:
        told.append("Not every cell had as many tuning runs as the others.")
    edges = [one for one in found.cells if one.edges]
    if edges:
        told.append(f"{_edge(edges, of=len(found.cells))} Verdicts that rest on it are withheld.")
    else:
        told.append("Every pick lies inside its range.")
    width = widest(found)
    return [*told, width] if width else told


def _edge(edges: Sequence[Tuned], *, of: int) -> str:
    cells = "1 cell" if len(edges) == 1 else f"{len(edges)} cells"
    return f"In {cells} of {of} the pick lies at the edge of its range: widen the range."


def widest(found: Fairness) -> str:
    """How wide the near-optimal ranges are; empty where no candidate has two runs."""
    axis = next((one for one in found.nuisance if one.scale != "category"), None)
    widths = sorted(one.width for one in found.cells if one.near is not None)
    if axis is None or not widths:
        return ""
    if not widths[-1]:
        return f"No other value of {axis.name} comes within one standard error of the best."
    low, high = (_width(axis, one) for one in (widths[0], widths[-1]))
    span = low if low == high else f"{low} to {high}"
    return f"Values of {axis.name} within one standard error of the best span {span}."


def _width(axis: Factor, width: float) -> str:
    if axis.scale != "log2":
        return f"{width:.3g}"
    return f"a factor of {2**width:.3g}"


def near(one: Tuned) -> str:
    """`0.03 to 0.3`, or why there is none."""
    if one.near is None:
        return f"n/a (n{FIXED}={FIXED}1)" if one.candidates else "n/a"
    low, high = one.near
    return show(low) if low == high else f"{show(low)} to {show(high)}"


def edges(view: SweepView, *, start: str = "Not settled") -> str:
    """That cells were tuned to the edge of what was tried, so that nothing is settled yet."""
    reason = withheld(view)
    return f"{start}: {reason}, so levels may change places." if reason else ""


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    found = view.of(build)
    if found is None or not found.claims or not view.grid or view.replicates < LEAST:
        return
    fair, count = sum(one.fair for one in found.claims), len(found.claims)
    edge = any(one.edges for one in found.cells)
    withheld = " Verdicts that rest on a pick at an edge were withheld." if edge else ""
    yield (
        "What a hyperparameter does can hinge on tuning and budget (for the batch size, see "
        "Shallue et al. (2019)). So a comparison is called fair if the learning rate was tuned for "
        "each cell, all cells had an equal budget, no pick lies at an edge of its range, all "
        "blocks of replicates are complete and no run collapsed, as far as each applies: "
        f"{fair} of {count} primary comparisons are.{withheld}"
    )
