"""VIME: finds the corrupted values of a row, and restores them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.hyper import Hyper
from trainers.models.layers import Linear
from trainers.ssl import Entrance, SSLEncoder, TwoViews, Views
from trainers.ssl.views import corrupt
from trainers.state import State


class VIME(TwoViews):
    """Cross-entropy of the mask, plus `vime.restoration` times the squared error of the values.

    A share of the columns takes the value of another row. Mask and values are those of the encoded
    row: a category counts as its one-hot numbers.

    Source: Yoon et al. 2020 (NeurIPS 33), equations 4 to 6.
    """

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, width: int, inputs: tuple[int, ...]
    ) -> None:
        self.share = train.parameters("vime").share
        self.mask = Linear(blueprint, "projector.mask", width, inputs[0])
        self.values = Linear(blueprint, "projector.values", width, inputs[0])

    def views(
        self,
        x: Tensor,
        draws: tuple[Tensor, Tensor],
        *,
        rows: Tensor | None,
        entrance: Entrance,
    ) -> Views:
        """The corrupted rows, the mask of what has changed, and the rows."""
        row = entrance(x)
        changed = entrance(corrupt(x, draws[1], x if rows is None else rows, self.share))
        return changed, (row != changed).to(row.dtype), row

    def outputs(self, encoder: SSLEncoder, views: Views, memory: State) -> Views:
        """The logits of the mask and the restored values, (K, n, inputs) each."""
        del memory
        features = encoder(views[0])
        return self.mask(encoder.run, features), self.values(encoder.run, features)

    def loss(self, outputs: Views, views: Views, hyper: Hyper) -> Tensor:
        _, mask, row = views
        found = F.binary_cross_entropy_with_logits(outputs[0], mask, reduction="none")
        wrong = (outputs[1] - row).square()
        return found.mean((1, 2)) + hyper.tensor("vime.restoration") * wrong.mean((1, 2))
