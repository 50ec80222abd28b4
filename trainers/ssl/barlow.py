"""Barlow Twins."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.compiled.product import product
from trainers.hyper import Hyper
from trainers.ssl import TwoViews, Views

EPSILON = 1e-5


class BarlowTwins(TwoViews):
    """The correlation of the two views' projections, pulled to the identity."""

    def loss(self, outputs: Views, views: Views, hyper: Hyper) -> Tensor:
        del views
        u, v = outputs
        return barlow(u, v, hyper.tensor("barlow_twins.off_diagonal"))


def barlow(u: Tensor, v: Tensor, off_diagonal: Tensor) -> Tensor:
    """sum_i (1 - C_ii)^2 + off_diagonal sum_{i != j} C_ij^2 of each member, `(K,)`.

    C is the cross-correlation over the batch of the dimensions, each normalised over the batch.

    Args:
        u: `(K, n, d)` projections of the first views, n >= 2.
        v: `(K, n, d)` projections of the second views.
        off_diagonal: `(K,)`, lambda.

    Source: Zbontar et al. 2021 (arXiv 2103.03230), equations 1 and 2, with its code's batch norm.
    """
    both = torch.stack([u, v])
    centred = both - both.mean(2, keepdim=True)
    scaled = centred / (centred.square().mean(2, keepdim=True) + EPSILON).sqrt()
    correlation = product(scaled[0].mT, scaled[1]) / u.shape[1]
    diagonal = correlation.diagonal(0, 1, 2)
    rest = correlation.square().sum((1, 2)) - diagonal.square().sum(1)
    return (1.0 - diagonal).square().sum(1) + off_diagonal * rest
