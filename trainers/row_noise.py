"""Augmentations of the rows of tables, using random draws that are passed in.

Letters of the shapes: K members, n samples, F columns (numbers, then codes), N rows of the training
subset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from trainers.config import TrainConfig
from trainers.policies import pick

HALF_A_DRAW = 2.0**-25  # draws are multiples of twice this number


@dataclass(frozen=True)
class TableRows:
    """What is known of a table.

    Attributes:
        numbers: its first columns, which are numbers; the others are codes.
        rows: (K, N, F), the training subset of each member.
    """

    numbers: int
    rows: Tensor


@dataclass(frozen=True)
class RowAugmentation:
    """A transform of each row on its own.

    Attributes:
        width: the uniform numbers that each column of a row needs.
        apply: maps rows `(K, n, F)`, draws `(K, n, width F)` and the table to rows of that shape.
        weakened: the same, with a factor `(K, n)` of each row's strength; None: it has none.
    """

    width: int
    apply: Callable[[Tensor, Tensor, TableRows], Tensor]
    weakened: Callable[[Tensor, Tensor, TableRows, Tensor], Tensor] | None = None

    def run(self, x: Tensor, u: Tensor, table: TableRows, factor: Tensor | None) -> Tensor:
        """Transforms rows, weakened by a factor if there is one."""
        if factor is None or self.weakened is None:
            return self.apply(x, u, table)
        return self.weakened(x, u, table, factor)


def noise_of(train: TrainConfig) -> RowAugmentation:
    """Gaussian noise with the configuration's strength."""
    apply = partial(noise, strength=train.parameters("noise").strength)
    return RowAugmentation(1, apply, apply)


def noise(
    x: Tensor, u: Tensor, table: TableRows, factor: Tensor | None = None, *, strength: float
) -> Tensor:
    """Adds normal numbers of deviation `strength` to the columns of numbers; codes stay.

    The columns have deviation 1 (marks of missing values are columns of 0 and 1).
    """
    normal = torch.special.ndtri(u[..., : table.numbers].double() + HALF_A_DRAW).to(x.dtype)
    change = strength * normal if factor is None else strength * normal * factor[..., None]
    return torch.cat([x[..., : table.numbers] + change, x[..., table.numbers :]], -1)


def swap_of(train: TrainConfig) -> RowAugmentation:
    """Swap noise with the configuration's share."""
    apply = partial(swap, share=train.parameters("swap").share)
    return RowAugmentation(2, apply, apply)


def swap(
    x: Tensor, u: Tensor, table: TableRows, factor: Tensor | None = None, *, share: float
) -> Tensor:
    """Replaces a share of the values by those of random rows of the training subset.

    Each value is replaced by itself, with probability `share`, by a draw from its column. The first
    F draws choose the values, the others the rows.

    Source: the corruption of VIME (Yoon et al. 2020), as an augmentation.
    """
    columns = x.shape[-1]
    donors = table.rows.gather(1, pick(u[..., columns:], table.rows.shape[1]))
    own = share if factor is None else share * factor[..., None]
    return torch.where(u[..., :columns] < own, donors, x)
