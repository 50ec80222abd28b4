"""Weights of the classes in the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainers.levers import ClassWeights


def class_weights(config: ClassWeights, counts: Sequence[int]) -> Tensor:
    """A weight of each class, (C,) float64, of mean 1 over the training samples.

    `inverse` is 1 / n_c, `sqrt` is n_c^(-1/2), and `effective` is (1 - beta) / (1 - beta^n_c), the
    inverse of the effective number of samples (Cui et al. 2019, arXiv 1901.05555, equation 2).
    Weighted losses are averaged over the batch, so a weight does not depend on the other samples of
    its batch, as it does where the weights of a batch are made to sum to 1.
    """
    sizes = torch.tensor(counts, dtype=torch.float64)
    some = sizes.clamp(min=1.0)
    weights = {
        "none": torch.ones_like(some),
        "inverse": 1.0 / some,
        "sqrt": some**-0.5,
        "effective": (1.0 - config.beta) / (1.0 - config.beta**some),
    }[config.by]
    return weights * sizes.sum() / (weights * sizes).sum()
