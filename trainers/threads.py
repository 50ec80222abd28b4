"""Chooses how many threads a training step uses."""

from __future__ import annotations

import os
from collections.abc import Iterable

from trainers.shapes import Layer

# Multiply-adds of a forward pass for each thread; with fewer, starting the thread costs more than
# it saves. Measured with residual networks on 8x8 images, ms a step with one thread and with two,
# on two cores that others used too: 0.8 and 3.1 at 0.4 million, 2.7 and 11.5 at 24, 8.7 and 24 at
# 194, 50 and 50 at 971. At 1,549 two runs disagreed: 57 and 70 with threads that sleep while they
# wait (the setting that is used), 176 and 144 with threads that do not. So the threshold is
# cautious; it was not tuned on an idle machine.
WORTH_A_THREAD = 250_000_000


def threads_for(layers: Iterable[Layer], *, most: int) -> int:
    """One thread for a small step, up to `most` for a large one.

    Args:
        layers: the calls of one forward pass in training, from `shapes.calls`.
    """
    work = sum(layer.multiply_adds for layer in layers)
    return max(1, min(most, work // WORTH_A_THREAD))


def asked() -> int | None:
    """The number that the user set for all programs, `OMP_NUM_THREADS`."""
    value = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(value) if value.isdecimal() and int(value) else None
