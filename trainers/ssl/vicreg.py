"""VICReg."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.compiled.product import product
from trainers.hyper import Hyper
from trainers.ssl import TwoViews, Views


class VICReg(TwoViews):
    """Variance, invariance and covariance of the projections, with the paper's weights."""

    def loss(self, outputs: Views, views: Views, hyper: Hyper) -> Tensor:
        del views, hyper
        u, v = outputs
        return vicreg(u, v)


def vicreg(u: Tensor, v: Tensor) -> Tensor:
    """25 invariance + 25 variance + 1 covariance of each member, `(K,)`.

    Invariance is the mean of (u - v)^2; variance the mean over both branches and dimensions of
    relu(1 - sqrt(Var + 1e-4)); covariance the sum over branches of sum_{i != j} Cov_ij^2 / d.
    Variances and covariances divide by n - 1, so n >= 2. At n = 2 all is finite, but the covariance
    matrix has rank 1 and little information: see `ssl.batch_multiple`.

    Args:
        u: `(K, n, d)` projections of the first views.
        v: `(K, n, d)` projections of the second views.

    Source: Bardes et al. 2022 (arXiv 2105.04906), equations 1 to 6.
    """
    invariance = (u - v).square().mean((1, 2))
    both = torch.stack([u, v], 1)
    centred = both - both.mean(2, keepdim=True)
    variance = centred.square().sum(2) / (u.shape[1] - 1)
    hinge = F.relu(1.0 - (variance + 1e-4).sqrt()).mean((1, 2))
    return 25.0 * invariance + 25.0 * hinge + _covariance(centred, variance).sum(1)


def _covariance(centred: Tensor, variance: Tensor) -> Tensor:
    """sum_{i != j} Cov_ij^2 / d of `(K, 2, n, d)`: `(K, 2)`.

    The sum over all entries minus the diagonal. ||X^T X|| = ||X X^T|| allows the smaller of the two
    matrices: 2 x 2 instead of 128 x 128 in a batch of two.
    """
    n, d = centred.shape[-2:]
    pair = (centred, centred.mT) if n < d else (centred.mT, centred)
    every = product(*pair).square().sum((-2, -1)) / (n - 1) ** 2
    return (every - variance.square().sum(-1)) / d
