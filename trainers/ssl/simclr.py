"""SimCLR."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.hyper import Hyper
from trainers.ssl import TwoViews, Views


class SimCLR(TwoViews):
    """NT-Xent of the projections, with the temperature `ssl.temperature`."""

    def loss(self, outputs: Views, views: Views, hyper: Hyper) -> Tensor:
        del views
        u, v = outputs
        return simclr(u, v, hyper.first.ssl.temperature)


def simclr(u: Tensor, v: Tensor, temperature: float) -> Tensor:
    """NT-Xent of each member, `(K,)`.

    The mean over the 2n anchors of -log softmax, over the other 2n - 1 samples, of cosine / tau at
    the anchor's other view.

    Args:
        u: `(K, n, d)` projections of the first views, n >= 2 (with one sample it is always 0).
        v: `(K, n, d)` projections of the second views.
        temperature: tau.

    Source: Chen et al. 2020 (arXiv 2002.05709), equation 1.
    """
    n = u.shape[1]
    z = F.normalize(torch.cat([u, v], 1), dim=-1)
    similarity = z @ z.mT / temperature
    itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    others = similarity.masked_fill(itself, -math.inf).logsumexp(-1)
    partner = similarity.diagonal(n, 1, 2)
    return (others.sum(-1) - 2 * partner.sum(-1)) / (2 * n)
