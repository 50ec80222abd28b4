"""How an epoch is cut into batches. No torch: checks and prices need it too."""

from __future__ import annotations


def batch_sizes(samples: int, size: int) -> list[int]:
    """Batches of an epoch: the last is what is left, but one left over joins the batch before.

    No sample is dropped, since a small class may have few; and no batch norm sees one alone.
    """
    full, left = divmod(samples, size)
    sizes = [size] * full
    if left == 1 and full:
        sizes[-1] += 1
    elif left:
        sizes.append(left)
    return sizes
