"""Focal loss."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.hyper import Hyper
from trainers.losses import cross_entropies

SMALLEST = 1e-12  # keeps the gradient of a small power finite where a probability rounds to 1


class Focal:
    """sum_c q_c (1 - p_c)^gamma (-ln p_c): samples that are already right count little.

    Source: Lin et al. 2017 (arXiv 1708.02002), equation 4; `focal.gamma` 0 is cross-entropy.
    """

    def __init__(self, hyper: Hyper, counts: Tensor) -> None:
        del counts
        self.gamma = hyper.tensor("focal.gamma")[:, None]

    def __call__(self, logits: Tensor, targets: Tensor, progress: float | Tensor) -> Tensor:
        del progress
        if targets.is_floating_point():
            surprise = logits.log_softmax(-1).neg()
            return (targets * self._focus(surprise, self.gamma[..., None]) * surprise).sum(-1)
        losses = cross_entropies(logits, targets)
        return self._focus(losses, self.gamma) * losses

    @staticmethod
    def _focus(surprise: Tensor, gamma: Tensor) -> Tensor:
        """(1 - p)^gamma of -ln p."""
        return torch.expm1(surprise.neg()).neg().clamp(min=SMALLEST) ** gamma
