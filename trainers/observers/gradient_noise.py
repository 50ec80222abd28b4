"""The gradient noise scale of each class and group (McCandlish et al. 2018, arXiv 1812.06162).

With g the gradient of one sample's cross-entropy, G its mean and Sigma its covariance, the scale is
tr(Sigma) / |G|^2: the batch size at which a batch's gradient is as much noise as signal.

The gradients are of plain cross-entropy, of samples that are not augmented, with the statistics of
the evaluation. Each class gives m samples, one gradient each. With S the mean of |g|^2 and L the
square of the mean of g, tr(Sigma) = (S - L) m / (m - 1) and |G|^2 = L - tr(Sigma) / m, both without
bias. A group's gradient is the mean over its classes weighted by their training samples.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.config import TrainConfig
from trainers.observers import Numbers, Observed

NOISE, VARIANCE, SQUARE = "gradient_noise", "gradient_variance", "gradient_square"


class GradientNoise:
    """The noise scale, tr(Sigma) and |G|^2 on the training subset.

    The scale is NaN where the estimate of |G|^2 is not positive. Average tr(Sigma) and |G|^2 over
    runs, and divide then: a mean of ratios is biased.
    """

    def __init__(self, train: TrainConfig) -> None:
        keys = train.parameters("gradient_noise")
        self.at_end, self._samples = keys.at == "end", keys.samples

    def observe(self, seen: Observed) -> Numbers:
        sampled = seen.draw("train", self._samples)
        counts = torch.as_tensor(seen.counts, device=sampled.labels.device).double()
        weights = seen.membership * counts
        weights = weights / weights.sum(1, keepdim=True)  # (T, C); NaN for an empty group
        moments = _Moments(seen, weights)
        for label in range(len(seen.counts)):
            moments.add(label, sampled.x[:, sampled.labels == label])
        variance, square = moments.estimates()
        noise = (variance / square).where(square > 0, torch.nan)
        return {
            ("train", NOISE): noise,
            ("train", VARIANCE): variance,
            ("train", SQUARE): square,
        }


class _Moments:
    """Sums over classes, for each target's weighted mean gradient. T targets."""

    def __init__(self, seen: Observed, weights: Tensor) -> None:
        self._seen, self._weights = seen, weights
        members, classes = seen.pack.members, weights.shape[1]
        flat = seen.pack.parameters.data
        # Targets of one class take their mean as it comes; only groups are kept as sums.
        self._groups = weights[classes:]
        self._sums = flat.new_zeros(len(self._groups), flat.numel())
        self._s = weights.new_full((members, classes), torch.nan)  # mean |g|^2
        self._l = weights.new_full((members, classes), torch.nan)  # |mean g|^2
        self._m = weights.new_zeros(classes)

    def add(self, label: int, x: Tensor) -> None:
        """Adds the samples (K, m, ...) of a class."""
        if not x.shape[1]:
            return
        layout = self._seen.pack.parameters.layout
        total, squares = torch.zeros_like(self._sums[0]), self._s.new_zeros(len(self._s))
        for at in range(x.shape[1]):
            grad = self._gradient(x[:, at : at + 1], label)
            total += grad
            squares += layout.norms(grad).double().square()
        mean = total / x.shape[1]
        self._m[label] = x.shape[1]
        self._s[:, label] = squares / x.shape[1]
        self._l[:, label] = layout.norms(mean).double().square()
        for row, weights in zip(self._sums, self._groups, strict=True):
            if weights[label] > 0:
                row.add_(mean, alpha=float(weights[label]))

    def _gradient(self, x: Tensor, label: int) -> Tensor:
        """The gradient (K P,) of the loss of one sample of each member."""
        pack = self._seen.pack
        with torch.enable_grad():
            logits = self._seen.logits(self._seen.features(x))[:, 0]
            target = torch.full((len(logits),), label, device=logits.device)
            loss = F.cross_entropy(logits, target, reduction="sum")
            return torch.autograd.grad(loss, pack.parameters.flat)[0]

    def estimates(self) -> tuple[Tensor, Tensor]:
        """tr(Sigma) and |G|^2 of each target: (K, T) each."""
        layout, w, m = self._seen.pack.parameters.layout, self._weights, self._m
        own = (self._s - self._l) * m / (m - 1)  # tr(Sigma) of each class; NaN for one sample
        own = own.where(m > 1, torch.nan)
        lengths = [layout.norms(row).double().square() for row in self._sums]
        square = torch.cat([self._l, torch.stack(lengths, dim=1)], dim=1)
        square = square - _weighted(own / m, w.square())
        return _weighted(self._s, w) - square, square


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Sums (K, C) over classes with weights (T, C): (K, T); classes of weight 0 do not count."""
    return (values[:, None] * weights).where(weights != 0, 0.0).sum(2)
