"""Label smoothing by class size.

Letters of the shapes: K members, B samples of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainers.by_size import by_size
from trainers.levers import Smoothing


def smoothing_by_class(counts: Tensor | Sequence[int], config: Smoothing) -> Tensor:
    """Label smoothing of each class, `(C,)` float64, by its count, see `by_size`.

    The rule `sine` is the concave form of MiSLAS, where the majority is smoothed more (Zhong et al.
    2021, arXiv 2104.00466, equation 6).
    """
    return by_size(counts, minority=config.minority, majority=config.majority, rule=config.rule)


def smoothed_shares(counts: Sequence[int], config: Smoothing) -> Tensor | None:
    """Where the smoothed share of a target goes: `(C,)` float64 that sums to 1; None: equally."""
    if config.spread == "uniform":
        return None
    inverse = 1.0 / torch.tensor(counts, dtype=torch.float64).clamp(min=1.0)
    return inverse / inverse.sum()


def smooth_targets(labels: Tensor, eps: Tensor, shares: Tensor | None = None) -> Tensor:
    """Soft targets q = (1 - eps_y) onehot(y) + eps_y shares, `(K, B, C)` in the type of `eps`.

    Args:
        labels: `(K, B)` int64.
        eps: `(K, C)` smoothing of each member's classes.
        shares: `(C,)`; None: 1 / C each.
    """
    classes = eps.shape[-1]
    own = eps.gather(-1, labels).unsqueeze(-1)
    spread = own / classes if shares is None else own * shares
    spread = spread.expand(*labels.shape, classes)
    return spread.scatter_add(-1, labels.unsqueeze(-1), 1.0 - own)
