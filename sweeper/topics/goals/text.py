"""Several objectives and constraints in short sentences."""

from __future__ import annotations

from sweeper.topics.goals.estimate import Goals


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
