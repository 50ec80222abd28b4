"""Several objectives and constraints in short sentences."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.analysis.measures import words
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import joined
from sweeper.topics.goals.estimate import Goals, build, constraints_of


def summary(found: Goals) -> str:
    """How many cells satisfy the constraints, and how many are in the Pareto set."""
    cells, parts = len(found.candidates), []
    if found.constraints:
        allowed = sum(one.allowed for one in found.candidates)
        named = " and ".join(one.text for one in found.constraints)
        told = f"{allowed} of {cells} cells" if allowed else "No cell"
        verb = "satisfy" if allowed > 1 else "satisfies"
        parts.append(f"{told} {verb} {named} (means on {found.split}).")
    if len(found.objectives) > 1:
        front = sum(one.front for one in found.candidates)
        near = sum(one.near for one in found.candidates)
        also = " that satisfy" if found.constraints else ""
        parts.append(
            f"{front} of the cells{also} {'is' if front == 1 else 'are'} in the Pareto set of the "
            f"means on {found.split}; {near} are within noise of it: no other cell is shown to be "
            "better in every objective."
        )
    return " ".join(parts)


def first_alone(view: SweepView) -> Iterator[str]:
    """With several objectives: by which of them the answer is."""
    others = (view.frames.sweep.spec.get("objectives") or [])[1:]
    if others:
        named = joined([words(one["metric"]) for one in others])
        yield (
            f"This answer is by {view.objective.title} alone, the first objective; the Pareto set "
            f"has {named} too."
        )


def apart_from_bounds(view: SweepView) -> Iterator[str]:
    """Where constraints have no part in the answer: a sentence that says so."""
    bounds = constraints_of(view.frames.sweep.spec)
    if bounds:
        named = " and ".join(one.text for one in bounds)
        yield f"Runs count whether or not they satisfy {named}; `sweeper best` takes only such."


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the spec has one goal only."""
    found = view.of(build)
    if found is None:
        return
    if found.constraints:
        yield (
            f"Constraints were read on the mean over replicates, on {found.split}; what breaks one "
            "was left out before levels and cells were compared, which no interval accounts for."
        )
    if len(found.objectives) > 1:
        yield (
            "A cell is in the Pareto set if no other cell's means are as good in all objectives "
            f"and better in one, on {found.split}. It is within noise of the set unless another "
            "cell is better in every objective by the simultaneous 95 % intervals of all pairs; a "
            "cell that is truly in the set is left out in at most 5 of 100 sweeps."
        )
