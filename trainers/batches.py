"""Cuts an epoch into batches. No torch, because checks and prices need it too."""

from __future__ import annotations


def batch_sizes(samples: int, size: int) -> list[int]:
    """The sizes of an epoch's batches; a single sample that is left over joins the batch before it.

    No sample is dropped, since a small class may have few; no batch norm sees a single sample.
    """
    full, left = divmod(samples, size)
    sizes = [size] * full
    if left == 1 and full:
        sizes[-1] += 1
    elif left:
        sizes.append(left)
    return sizes
