"""LDAM: margins that are larger for smaller classes."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.hyper import Hyper
from trainers.losses import cross_entropies


class LDAM:
    """Cross-entropy of s (cos - m_y onehot_y), with m_c ~ n_c^(-1/4), the largest `ldam.margin`.

    A cosine head's logits are s cos, s = `head_scale`, so the margin is taken off as s m. With soft
    targets, each class loses its share of its margin.

    Source: Cao et al. 2019 (arXiv 1906.07413), equation 13, and its code for the scale.
    """

    def __init__(self, hyper: Hyper, counts: Tensor) -> None:
        quarter = counts.to(hyper.like.dtype).clamp(min=1.0) ** -0.25
        shape = (quarter / quarter.max()).unsqueeze(-2) * hyper.first.head_scale
        self.margins = hyper.tensor("ldam.margin")[:, None, None] * shape

    def __call__(self, logits: Tensor, targets: Tensor, progress: float | Tensor) -> Tensor:
        del progress
        soft = targets
        if not targets.is_floating_point():
            soft = torch.zeros_like(logits).scatter(-1, targets.unsqueeze(-1), 1.0)
        return cross_entropies(torch.addcmul(logits, soft, self.margins, value=-1.0), targets)
