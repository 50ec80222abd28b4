"""The shape of a table's encoded rows, and the bins of its numbers. Needs numpy only."""

from __future__ import annotations

from typing import Self

import numpy as np


class TableShape(tuple[int, ...]):
    """The shape (F,) of an encoded row: numbers first, then each category's codes, one-hot.

    Attributes:
        numbers: columns of numbers; marks of missing values are among them.
        cardinalities: the codes of each categorical column.
        pool: the numbers of the training pool, (N, numbers); None without data, as in a saved
            model.
    """

    numbers: int
    cardinalities: tuple[int, ...]
    pool: np.ndarray | None

    @classmethod
    def of(
        cls, numbers: int, cardinalities: tuple[int, ...], pool: np.ndarray | None = None
    ) -> Self:
        """The shape of rows with so many numbers and these categories."""
        made = cls((numbers + sum(cardinalities),))
        made.numbers, made.cardinalities, made.pool = numbers, cardinalities, pool
        return made

    def edges(self, bins: int) -> np.ndarray:
        """The edges of `bins` bins with equally many rows of the pool: (numbers, bins + 1) float64.

        Equal edges count once, and the last edge fills the rest of a column's row.

        Source: Gorishniy et al. 2022 (arXiv 2203.05556), section 3.2.1.
        """
        if self.pool is None:
            raise ValueError("bins need the training pool")
        found = np.quantile(self.pool.astype(np.float64), np.linspace(0.0, 1.0, bins + 1), axis=0)
        edges = np.empty((self.numbers, bins + 1))
        for column, values in enumerate(found.T):
            own = np.unique(values)
            edges[column] = own[-1]
            edges[column, : len(own)] = own
        return edges
