"""Settings of classes that go from a value of the smallest class to one of the largest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def by_size(
    counts: Tensor | Sequence[int], *, minority: float, majority: float, rule: str = "log"
) -> Tensor:
    """A value of each class, `(C,)` float64: majority + (minority - majority) position_c.

    The position goes from 0 for the largest class to 1 for the smallest that has samples:

    - `log`: (ln n_max - ln n_c) / (ln n_max - ln n_min);
    - `sine`: 1 - sin(pi/2 (n_c - n_min) / (n_max - n_min)).

    A class without samples takes `minority`. If all classes are equal, each takes the mean of
    `minority` and `majority`, so that the average over the classes is continuous as the ratio goes
    to 1.
    """
    sizes = torch.as_tensor(counts).to("cpu", torch.float64)
    present = sizes[sizes > 0]
    smallest, largest = float(present.min()), float(present.max())
    if smallest == largest:
        return torch.full_like(sizes, (minority + majority) / 2)
    sizes = sizes.clamp(min=smallest)
    if rule == "sine":
        position = 1.0 - ((sizes - smallest) / (largest - smallest) * (math.pi / 2)).sin()
    else:
        logs = sizes.log()
        position = (logs.max() - logs) / (logs.max() - logs.min())
    return majority + (minority - majority) * position
