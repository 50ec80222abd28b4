"""Groups of classes by training count, and the names of all metrics. Imports nothing.

This file defines minority and majority for the whole project.
"""

from __future__ import annotations

from collections.abc import Sequence

CLASS_METRICS = ("recall", "precision", "support", "loss", "calibration_error")
GROUP_METRICS = ("accuracy", "loss", "calibration_error")
GROUPS = ("minority", "majority", "head", "medium", "tail")
MEASURED_SPLITS = ("train", "val", "test")


def minority_and_majority(counts: Sequence[float]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The labels of the minority and of the majority classes, each from common to rare.

    Classes are ranked by training count, the largest first, and by label if counts are equal.
    Majority and minority are the first and the last third of the ranking. A third is rounded
    down, but has at least one class.
    """
    ranked = sorted(range(len(counts)), key=lambda label: (-counts[label], label))
    third = max(1, len(counts) // 3)
    return tuple(ranked[-third:]), tuple(ranked[:third])


def class_groups(counts: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The sorted labels of each group, by training count; head, medium and tail may be empty.

    Head has more than 100 training samples, medium 20 to 100, tail fewer (Liu et al. 2019).
    """
    minority, majority = minority_and_majority(counts)
    members = {
        "minority": sorted(minority),
        "majority": sorted(majority),
        "head": [label for label, n in enumerate(counts) if n > 100],
        "medium": [label for label, n in enumerate(counts) if 20 <= n <= 100],
        "tail": [label for label, n in enumerate(counts) if n < 20],
    }
    return {group: tuple(members[group]) for group in GROUPS}
