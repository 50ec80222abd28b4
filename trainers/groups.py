"""Groups of classes by training count, and the names of all that is measured. No torch here."""

from __future__ import annotations

from collections.abc import Sequence

CLASS_METRICS = ("recall", "precision", "support", "loss", "calibration_error")
GROUP_METRICS = ("accuracy", "loss", "calibration_error")
GROUPS = ("minority", "majority", "head", "medium", "tail")
MEASURED_SPLITS = ("train", "val", "test")


def class_groups(counts: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Which classes each group holds, by training count; head, medium and tail may be empty.

    Classes are ranked by count, the larger first, and by label where counts are equal. Majority
    and minority are the first and the last third of the ranking, rounded down, at least one class.
    Head has more than 100 training samples, medium 20 to 100, tail fewer (Liu et al. 2019).
    """
    ranked = sorted(range(len(counts)), key=lambda label: (-counts[label], label))
    third = max(1, len(counts) // 3)
    members = {
        "minority": ranked[-third:],
        "majority": ranked[:third],
        "head": [label for label in ranked if counts[label] > 100],
        "medium": [label for label in ranked if 20 <= counts[label] <= 100],
        "tail": [label for label in ranked if counts[label] < 20],
    }
    return {group: tuple(sorted(members[group])) for group in GROUPS}
