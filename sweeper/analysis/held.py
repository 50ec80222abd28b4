"""How often intervals hold on the noise of real runs: the rates that docs/statistics.md has.

`tests/analysis/test_real_noise.py` finds them again from 200 replicates of each of twelve cells.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """Percent of blocks of replicates whose intervals hold the mean of all 200: average, least.

    Attributes:
        mean: the interval of a cell's mean, over the cells.
        pairs: the intervals of all pairs of a group's cells, all at once, over the groups.
        costs: what each cell costs against the best one of its group, all at once.
    """

    mean: tuple[float, float]
    pairs: tuple[float, float]
    costs: tuple[float, float]


HELD = {  # by the replicates of a block
    3: Held(mean=(94, 87), pairs=(93, 89), costs=(97, 93)),
    5: Held(mean=(93, 80), pairs=(93, 85), costs=(97, 88)),
    10: Held(mean=(93, 87), pairs=(94, 89), costs=(97, 91)),
}


def of_means(replicates: int) -> str:
    """What was seen of means over `replicates` (3 or more), or over the next fewer tried."""
    size, found = _nearest(replicates)
    average, least = found.mean
    return (
        f"Tried on 200 runs of each of twelve cells, intervals over {size} of them held the mean "
        f"of all 200 in {average:g} % of cases; in the worst cell, where half of the runs are at "
        f"0, in {least:g} %."
    )


def of_comparisons(replicates: int) -> str:
    """What was seen of all comparisons of a group, all at once."""
    _, found = _nearest(replicates)
    return (
        "In that trial the paired differences of all pairs of a group held at once in "
        f"{found.pairs[0]:g} % of cases (with the worst cell in the group {found.pairs[1]:g} %), "
        f"and what each cell costs against the best in {found.costs[0]:g} % "
        f"({found.costs[1]:g} %)."
    )


def _nearest(replicates: int) -> tuple[int, Held]:
    size = max(one for one in HELD if one <= replicates)
    return size, HELD[size]
