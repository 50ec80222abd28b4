"""SCARF: contrasts rows of a table with corrupted copies."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.compiled.product import product
from trainers.config import TrainConfig
from trainers.hyper import Hyper
from trainers.ssl import Entrance, TwoViews, Views
from trainers.ssl.views import corrupt


class SCARF(TwoViews):
    """InfoNCE between a row and its copy, in which a share of the columns has other rows' values.

    Source: Bahri et al. 2022 (arXiv 2106.15147), algorithm 1.
    """

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, width: int, inputs: tuple[int, ...]
    ) -> None:
        super().__init__(blueprint, train, width=width, inputs=inputs)
        self.share = train.parameters("scarf").share

    def views(
        self,
        x: Tensor,
        draws: tuple[Tensor, Tensor],
        *,
        rows: Tensor | None,
        entrance: Entrance,
    ) -> Views:
        others = x if rows is None else rows
        return entrance(x), entrance(corrupt(x, draws[1], others, self.share))

    def loss(self, outputs: Views, views: Views, hyper: Hyper) -> Tensor:
        del views
        u, v = outputs
        return info_nce(u, v, hyper.tensor("scarf.temperature"))


def info_nce(u: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """The mean of -log softmax over the copies of cosine / tau at a row's own copy: `(K,)`.

    Args:
        u: `(K, n, d)` projections of the rows, n >= 2.
        v: `(K, n, d)` projections of the copies.
        temperature: `(K,)`, tau.
    """
    similarity = product(F.normalize(u, dim=-1), F.normalize(v, dim=-1).mT)
    similarity = similarity / temperature[:, None, None]
    own = similarity.diagonal(0, 1, 2)
    return (similarity.logsumexp(-1) - own).mean(1)
