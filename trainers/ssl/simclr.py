"""SimCLR, with a queue of earlier projections if wanted."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.compiled.product import product
from trainers.config import TrainConfig
from trainers.hyper import Hyper
from trainers.layout import Layout
from trainers.models.projector import OUTPUTS
from trainers.parameters import Parameters
from trainers.ssl import SSLEncoder, TwoViews, Views
from trainers.state import Kept, State

QUEUE = "queue"


class SimCLR(TwoViews):
    """NT-Xent of the projections, with the temperature `ssl.temperature`.

    The newest `simclr.queue` projections of earlier updates are further negatives, as in MoCo (He
    et al. 2020, arXiv 1911.05722), but made by the network itself, not by a slower copy (a
    cross-batch memory: Wang et al. 2020, arXiv 1912.06798).
    """

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, width: int, inputs: tuple[int, ...]
    ) -> None:
        super().__init__(blueprint, train, width=width, inputs=inputs)
        self.queue: int = train.parameters("simclr").queue

    def memory(self, parameters: Parameters) -> State:
        if not self.queue:
            return {}
        layout = Layout(parameters.layout.members, {QUEUE: self.queue * OUTPUTS})
        return {QUEUE: Kept(parameters.data.new_zeros(layout.total), layout)}

    def outputs(self, encoder: SSLEncoder, views: Views, memory: State) -> Views:
        """The projections of each view, then those in the queue, `(K, queue, d)`, if it has any."""
        seen = super().outputs(encoder, views, memory)
        return (*seen, *(self._rows(kept).clone() for kept in memory.values()))

    def loss(self, outputs: Views, views: Views, hyper: Hyper) -> Tensor:
        del views
        u, v, *queue = outputs
        return simclr(u, v, hyper.first.ssl.temperature, queue[0] if queue else None)

    def remember(self, memory: State, outputs: Views) -> None:
        for kept in memory.values():
            newest = F.normalize(torch.cat(outputs[:2], 1), dim=-1)
            rows = self._rows(kept)
            rows.copy_(torch.cat([newest, rows], 1)[:, : self.queue])

    def _rows(self, kept: Kept) -> Tensor:
        return kept.tensor.view(kept.layout.members, self.queue, OUTPUTS)


def simclr(u: Tensor, v: Tensor, temperature: float, queue: Tensor | None = None) -> Tensor:
    """NT-Xent of each member, `(K,)`.

    The mean over the 2n anchors of -log softmax, over the other 2n - 1 samples and the queue, of
    cosine / tau at the anchor's other view.

    Args:
        u: `(K, n, d)` projections of the first views, n >= 2 (with one sample it is always 0).
        v: `(K, n, d)` projections of the second views.
        temperature: tau.
        queue: `(K, m, d)` further negatives of length 1; a place that is still empty is 0.

    Source: Chen et al. 2020 (arXiv 2002.05709), equation 1.
    """
    n = u.shape[1]
    z = F.normalize(torch.cat([u, v], 1), dim=-1)
    similarity = product(z, z.mT) / temperature
    itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    others = similarity.masked_fill(itself, -math.inf)
    if queue is not None:
        empty = (queue == 0).all(-1).unsqueeze(1)
        others = torch.cat(
            [others, (product(z, queue.mT) / temperature).masked_fill(empty, -math.inf)], -1
        )
    others = others.logsumexp(-1)
    partner = similarity.diagonal(n, 1, 2)
    return (others.sum(-1) - 2 * partner.sum(-1)) / (2 * n)
