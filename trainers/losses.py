"""Supervised losses of a pack, one number for each sample, and label smoothing by class size.

Letters of the shapes: K members, B samples of a batch, C classes. Targets are either soft,
`(K, B, C)` rows that sum to 1, or hard, `(K, B)` int64 labels. Hard labels are the faster form for
a step without smoothing and mixing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Loss: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def hard(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy `(K, B)` of logits `(K, B, C)` and int64 labels `(K, B)`."""
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)


def soft(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy `(K, B)` of logits `(K, B, C)` and soft targets `(K, B, C)`."""
    return (targets * logits.log_softmax(-1)).sum(-1).neg()


def cross_entropy(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """-sum_c q_c ln p_c, `(K, B)`; `counts`, `(K or 1, C)`, are not used."""
    del counts
    return soft(logits, targets) if targets.is_floating_point() else hard(logits, targets)


def logit_adjusted(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy of z + ln pi, `(K, B)`: logit adjustment with tau 1, or balanced softmax.

    Args:
        logits: `(K, B, C)`.
        targets: `(K, B, C)` soft or `(K, B)` int64.
        counts: `(K or 1, C)` training samples of a class. A class without samples counts as one
            sample: its logits stay finite, and batches without it push strongly away from it.

    Source: Menon et al. 2021 (arXiv 2007.07314), equation 10; Ren et al. 2020 for tau 1.
    """
    present = counts.to(logits.dtype).clamp(min=1.0)
    log_prior = (present / present.sum(-1, keepdim=True)).log()
    return cross_entropy(logits + log_prior.unsqueeze(-2), targets, counts)


def smoothing_by_class(counts: Tensor | Sequence[int], minority: float, majority: float) -> Tensor:
    """Label smoothing of each class, `(C,)` float64, linear in the logarithm of its count.

    eps_c = majority + (minority - majority) (ln n_max - ln n_c) / (ln n_max - ln n_min), with
    n_min the smallest class that has samples; a class without samples takes `minority`. If all
    classes are equal, each takes the mean of `minority` and `majority`, so that the average over
    the classes is continuous as the ratio goes to 1.
    """
    sizes = torch.as_tensor(counts).to("cpu", torch.float64)
    present = sizes[sizes > 0]
    smallest, largest = float(present.min()), float(present.max())
    if smallest == largest:
        return torch.full_like(sizes, (minority + majority) / 2)
    logs = sizes.clamp(min=smallest).log()
    position = (logs.max() - logs) / (logs.max() - logs.min())
    return majority + (minority - majority) * position


def smooth_targets(labels: Tensor, eps: Tensor) -> Tensor:
    """Soft targets q = (1 - eps_y) onehot(y) + eps_y / C, `(K, B, C)` in the type of `eps`.

    Args:
        labels: `(K, B)` int64.
        eps: `(K, C)` smoothing of each member's classes.
    """
    classes = eps.shape[-1]
    own = eps.gather(-1, labels).unsqueeze(-1)
    spread = (own / classes).expand(*labels.shape, classes)
    return spread.scatter_add(-1, labels.unsqueeze(-1), 1.0 - own)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "logit_adjusted": logit_adjusted,
}
