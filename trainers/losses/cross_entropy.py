"""Cross-entropy."""

from __future__ import annotations

from torch import Tensor

from trainers.hyper import Hyper
from trainers.losses import cross_entropies


class CrossEntropy:
    """-sum_c q_c ln p_c."""

    def __init__(self, hyper: Hyper, counts: Tensor) -> None:
        del hyper, counts

    def __call__(self, logits: Tensor, targets: Tensor, progress: float | Tensor) -> Tensor:
        del progress
        return cross_entropies(logits, targets)
