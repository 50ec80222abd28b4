"""Losses that shift and stretch the logits by class size."""

from __future__ import annotations

from torch import Tensor

from trainers.hyper import Hyper
from trainers.losses import cross_entropies


class LogitAdjusted:
    """Cross-entropy of z + tau ln pi; with tau 1 it is balanced softmax.

    A class without samples counts as one sample: its logits stay finite, and batches without it
    push strongly away from it.

    Source: Menon et al. 2021 (arXiv 2007.07314), equation 10; Ren et al. 2020 for tau 1.
    """

    def __init__(self, hyper: Hyper, counts: Tensor) -> None:
        self.shift = hyper.tensor("logit_adjusted.tau")[:, None, None] * log_prior(
            counts, hyper.like
        )

    def __call__(self, logits: Tensor, targets: Tensor, progress: float | Tensor) -> Tensor:
        del progress
        return cross_entropies(logits + self.shift, targets)


class VectorScaling:
    """Cross-entropy of z / D + tau ln pi, D_c = (n_max / n_c)^gamma.

    Source: Kini et al. 2021 (arXiv 2103.01550), equation 2.
    """

    def __init__(self, hyper: Hyper, counts: Tensor) -> None:
        present = counts.to(hyper.like.dtype).clamp(min=1.0)
        ratio = (present / present.max()).unsqueeze(-2)
        self.scale = ratio ** hyper.tensor("vs.gamma")[:, None, None]
        self.shift = hyper.tensor("vs.tau")[:, None, None] * log_prior(counts, hyper.like)

    def __call__(self, logits: Tensor, targets: Tensor, progress: float | Tensor) -> Tensor:
        del progress
        return cross_entropies(logits * self.scale + self.shift, targets)


def log_prior(counts: Tensor, like: Tensor) -> Tensor:
    """ln(n_c / N) of the training subset, (1, 1, C) in the type of `like`; counts are (1, C)."""
    present = counts.to(like).clamp(min=1.0)
    return (present / present.sum(-1, keepdim=True)).log().unsqueeze(-2)
