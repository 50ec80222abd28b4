"""Per-class normalised gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainers.steps import Passes

if TYPE_CHECKING:
    from trainers.feed import Batch
    from trainers.pack import LossTerms

NORM_EPSILON = 1e-12


class ClassNormalised:
    """The sum over the classes in the batch of g_c / |g_c|, g_c the gradient of their mean loss.

    One backward pass for each class of the batch. An SSL loss adds its own gradient as it is.

    Source: Francazi et al. 2023 (arXiv 2207.00391), per-class normalisation.
    """

    def __init__(self) -> None:
        self.of_classes: Mapping[str, Tensor] = {}

    def gradient(self, passes: Passes, batch: Batch) -> tuple[Tensor, LossTerms]:
        terms = passes.terms(batch)
        layout = passes.parameters.layout
        total = torch.zeros_like(passes.parameters.data)
        present = sorted(set(batch.labels.flatten().tolist()))
        for position, label in enumerate(present):
            own = (batch.labels == label).to(terms.losses)
            mean = (own * terms.losses).sum(1) / own.sum(1).clamp(min=1.0)
            last = position == len(present) - 1 and terms.ssl is None
            grad = passes.gradient(mean, again=not last)
            factors = 1.0 / (layout.norms(grad) + NORM_EPSILON)
            layout.add_scaled_(total, grad, factors)
        if terms.ssl is not None:
            total.add_(passes.gradient(terms.ssl))
        return total, terms
