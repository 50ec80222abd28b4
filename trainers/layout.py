"""Where the numbers of K members lie in a flat tensor.

Letters: K members, n numbers of one block, m blocks.

A flat tensor is *layer-major*: block after block, each (K, n). Blocks of equal size are neighbours,
so that a norm or a factor of each member takes one operation for each size, not for each layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby

import torch
from torch import Tensor


class Layout:
    """The position of each block in a layer-major flat tensor of K members."""

    def __init__(self, members: int, sizes: Mapping[str, int]) -> None:
        self.members = members
        self.sizes = dict(sizes)
        self.total = members * sum(self.sizes.values())
        self._runs = [(size, len(list(run))) for size, run in groupby(self.sizes.values())]

    @property
    def places(self) -> dict[str, int]:
        """Where each block of one member begins, if it were alone."""
        return dict(zip(self.sizes, accumulate(self.sizes.values(), initial=0), strict=False))

    def cut(self, flat: Tensor) -> dict[str, Tensor]:
        """Views (K n,) of the blocks; autograd returns their gradients as one tensor."""
        lengths = [self.members * size for size in self.sizes.values()]
        return dict(zip(self.sizes, flat.split(lengths), strict=True))

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views (K, n) of the blocks."""
        return {name: block.view(self.members, -1) for name, block in self.cut(flat).items()}

    def groups(self, flat: Tensor) -> list[Tensor]:
        """Views (m, K, n) of m neighbouring blocks of equal size, which cover the tensor."""
        lengths = [self.members * size * many for size, many in self._runs]
        return [
            part.view(many, self.members, size)
            for part, (size, many) in zip(flat.split(lengths), self._runs, strict=True)
        ]

    def norms(self, flat: Tensor) -> Tensor:
        """The Euclidean norm of each member's numbers: (K,)."""
        if self.members == 1:
            return torch.linalg.vector_norm(flat).view(1)
        parts = [torch.linalg.vector_norm(group, dim=(0, 2)) for group in self.groups(flat)]
        return torch.linalg.vector_norm(torch.stack(parts), dim=0)

    def scale_(self, flat: Tensor, factors: Tensor) -> Tensor:
        """Multiplies each member's numbers by its factor (K,), in place."""
        if self.members == 1:
            return flat.mul_(factors)
        for group in self.groups(flat):
            group.mul_(factors[:, None])
        return flat

    def add_scaled_(self, to: Tensor, flat: Tensor, factors: Tensor) -> Tensor:
        """Adds each member's numbers, times its factor (K,), to `to`; may overwrite `flat`."""
        return to.add_(self.scale_(flat, factors))

    def spread(self, values: Tensor) -> Tensor:
        """Repeats each member's number (K,) at each of its positions: (total,)."""
        return self.scale_(values.new_ones(self.total), values)

    def select(self, flat: Tensor, keep: Sequence[int]) -> Tensor:
        """The flat tensor of some members only."""
        parts = [group[:, list(keep)].flatten() for group in self.groups(flat)]
        return torch.cat(parts) if parts else flat.clone()

    def finite(self, flat: Tensor) -> Tensor:
        """Whether all numbers of a member are finite: (K,) bool."""
        # In float64, so that the squares of large finite numbers do not overflow.
        return self.norms(flat.to(torch.float64)).isfinite()
