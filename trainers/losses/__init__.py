"""Supervised losses of a pack, one number for each sample; a file for each.

Letters of the shapes: K members, B samples of a batch, C classes. Targets are either soft,
`(K, B, C)` rows that sum to 1, or hard, `(K, B)` int64 labels. Hard labels are the faster form for
a step without smoothing and mixing.
"""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from trainers.hyper import Hyper


class Loss(Protocol):
    """A supervised loss, an entry of kind `loss`."""

    def __init__(self, hyper: Hyper, counts: Tensor) -> None:
        """Args: counts: `(1, C)` training samples of each class."""
        ...

    def __call__(self, logits: Tensor, targets: Tensor, progress: float | Tensor) -> Tensor:
        """The loss of each sample, `(K, B)`.

        `progress` is the share of the updates made, on a GPU a tensor of one number.
        """
        ...


def cross_entropies(logits: Tensor, targets: Tensor) -> Tensor:
    """-sum_c q_c ln p_c, `(K, B)`, of logits `(K, B, C)` and soft or hard targets."""
    if targets.is_floating_point():
        return (targets * logits.log_softmax(-1)).sum(-1).neg()
    flat = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view_as(targets)
