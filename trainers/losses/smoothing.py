"""Label smoothing by class size.

Letters of the shapes: K members, B samples of a batch, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trainers.config import Smoothing


def smoothing_by_class(counts: Tensor | Sequence[int], config: Smoothing) -> Tensor:
    """Label smoothing of each class, `(C,)` float64, by its count.

    eps_c = majority + (minority - majority) position_c, where the position goes from 0 for the
    largest class to 1 for the smallest that has samples:

    - `log`: (ln n_max - ln n_c) / (ln n_max - ln n_min);
    - `sine`: 1 - sin(pi/2 (n_c - n_min) / (n_max - n_min)), the concave form of MiSLAS, where the
      majority is smoothed more (Zhong et al. 2021, arXiv 2104.00466, equation 6).

    A class without samples takes `minority`. If all classes are equal, each takes the mean of
    `minority` and `majority`, so that the average over the classes is continuous as the ratio goes
    to 1.
    """
    minority, majority = config.minority, config.majority
    sizes = torch.as_tensor(counts).to("cpu", torch.float64)
    present = sizes[sizes > 0]
    smallest, largest = float(present.min()), float(present.max())
    if smallest == largest:
        return torch.full_like(sizes, (minority + majority) / 2)
    sizes = sizes.clamp(min=smallest)
    if config.rule == "sine":
        position = 1.0 - ((sizes - smallest) / (largest - smallest) * (math.pi / 2)).sin()
    else:
        logs = sizes.log()
        position = (logs.max() - logs) / (logs.max() - logs.min())
    return majority + (minority - majority) * position


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
