"""Which class gets which size, where each replicate draws it (`data.imbalance.order: permuted`).

Training works in *places*: place 0 has the most samples, place C - 1 the fewest. A member's classes
are its places, so class sizes, groups and settings by class size are equal for all members of a
pack. Results are numbered by class again.

Letters: K members, C classes, N samples, L numbers of an evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

CLASS = "class:"


class ClassOrder:
    """The place of each class, (K, C) int64."""

    def __init__(self, places: Tensor) -> None:
        self.places = places

    @classmethod
    def of(cls, places: Sequence[np.ndarray], device: torch.device) -> Self | None:
        """The order of some members; None where every class's place is its label."""
        rows = np.stack(places)
        if (rows == np.arange(rows.shape[1])).all():
            return None
        return cls(torch.from_numpy(rows).to(device))

    def of_labels(self, labels: Tensor) -> Tensor:
        """The places (K, N) of the classes of samples, (N,) or (K, N)."""
        return self.places.gather(1, labels.expand(len(self.places), -1))

    def by_class(self, numbers: Tensor, names: Sequence[tuple[str, str, str]]) -> Tensor:
        """Numbers (K, L) in the order of `names`, with those of each place at its class.

        Args:
            names: (split, metric, target) of each number, whose classes are called by their labels.
        """
        position = {name: at for at, name in enumerate(names)}
        index = [
            [position[split, metric, self._target(row, target)] for split, metric, target in names]
            for row in self.places.tolist()
        ]
        return numbers.gather(1, torch.tensor(index, device=numbers.device))

    @staticmethod
    def _target(places: Sequence[int], target: str) -> str:
        label = target.removeprefix(CLASS)
        return f"{CLASS}{places[int(label)]}" if label != target else target
