"""Sentences on runs that others made, which `sweeper import` has read."""

from __future__ import annotations

from sweeper.analysis.frames import Frames

UNKNOWN = "Not known: the runs were imported, and the source does not say."


def origin(frames: Frames) -> str:
    """Where the runs come from: `runs.csv (CSV)`."""
    one = frames.imported
    return f"{one.get('file', 'a table')} ({one.get('from', 'unknown')})"


def caveats(frames: Frames) -> list[str]:
    """What a reader must know of imported runs."""
    told = (
        f"The runs were made elsewhere and read from {origin(frames)}, which has neither class "
        "counts nor single answers: class groups, trade-offs, missed batches, variance sources "
        "and changed predictions are left out."
    )
    return [told, *map(str, frames.imported.get("remarks", ()))]


def reading(frames: Frames) -> str:
    """How the objective and the replicates are to be read."""
    shared = (
        "Cells are compared within replicates, as the column of replicates names them."
        if frames.imported.get("paired")
        else "Repeated runs are independent of each other."
    )
    return (
        "How the settings were chosen, and on which data, is not recorded. Intervals of means, "
        f"differences and trends are Student t intervals over replicates. {shared}"
    )


def design(frames: Frames) -> str:
    """The same for the methods paragraph."""
    paired = frames.imported.get("paired")
    matched = (
        "were compared within a replicate (common random numbers)"
        if paired
        else "have independent repeats"
    )
    return (
        f"The runs were made elsewhere and read from {origin(frames)}. Cells {matched}. Every run "
        "was read at its last recorded epoch."
    )
