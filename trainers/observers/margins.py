"""Margins of each class: how far a sample is from another class's region.

Four margins of a sample x of class y, with logits z and features h:

- logit: z_y - max over k of z_k.
- feature: the least over k of (z_y - z_k) / |d(z_y - z_k)/dh|; with a linear head the distance of h
  from the nearest border.
- gradient: the same with d/dx, the distance of x from the border to first order.
- input: the distance from x to the first change of the prediction along straight lines towards
  samples of other classes, the mean over lines (as Somepalli et al. 2022, arXiv 2203.08124). The
  line is searched at fixed shares of its length, and the change then found by bisection. Only
  samples count that are predicted rightly, and whose prediction changes on at least half of their
  lines.

The first three are negative for a wrong prediction. Distances are in units of normalised inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from trainers.config import TrainConfig
from trainers.observers import Numbers, Observed, Sampled

KINDS = ("logit", "feature", "gradient", "input")
SPLITS = ("train", "test")
# Shares of a line at which the prediction is looked at, and halvings of the part where it changes.
GRID = tuple(10 ** (-2 + 2 * step / 15) for step in range(16))
HALVINGS = 10
LOWEST = 0.1  # the quantile that is reported beside the mean


class Margins:
    """The mean and the 10 % quantile of each margin, by class and group."""

    def __init__(self, train: TrainConfig) -> None:
        keys = train.parameters("margins")
        self.at_end = keys.at == "end"
        self._samples, self._lines, self._rivals = keys.samples, keys.lines, keys.rivals

    def observe(self, seen: Observed) -> Numbers:
        found: dict[tuple[str, str], Tensor] = {}
        for split in SPLITS:
            sampled = seen.draw(split, self._samples)
            for kind, values in self._of(seen, sampled, split).items():
                mean, low = _summed(values.double(), sampled.labels, seen.membership)
                found[split, f"{kind}_margin"] = mean
                found[split, f"{kind}_margin_q10"] = low
        return found

    def _of(self, seen: Observed, sampled: Sampled, split: str) -> dict[str, Tensor]:
        """Each margin (K, M) of the samples; NaN where a sample has none."""
        x, labels = sampled.x, sampled.labels
        with torch.no_grad():
            h = seen.features(x)
            z = seen.logits(h)
        gaps = z.gather(2, _own(labels, z)) - z
        rivals = gaps.scatter(2, _own(labels, z), torch.inf).argsort(2)
        rivals = rivals[..., : min(self._rivals, z.shape[2] - 1)]
        logit = gaps.gather(2, rivals[..., :1])[..., 0]
        return {
            "logit": logit,
            "feature": _first_order(seen.logits, h, labels, rivals),
            "gradient": _first_order(lambda at: seen.logits(seen.features(at)), x, labels, rivals),
            "input": self._along_lines(seen, sampled, split, right=logit > 0),
        }

    def _along_lines(
        self, seen: Observed, sampled: Sampled, split: str, *, right: Tensor
    ) -> Tensor:
        """The mean distance along the lines of each sample: (K, M)."""
        x, labels = sampled.x, sampled.labels
        ends = self._ends(seen, labels, split)  # (K, M, D), places among the samples
        members, samples, lines = ends.shape
        start = x.repeat_interleave(lines, dim=1)
        own = torch.arange(members, device=x.device)[:, None]
        way = x[own, ends.flatten(1)] - start
        truth = labels.repeat_interleave(lines)
        share = first_change(lambda t: _same(seen, start, way, t, truth), start)
        distance = (share * way.flatten(2).norm(dim=2)).view(members, samples, lines)
        changed = distance.isfinite()
        mean = distance.nan_to_num(nan=0.0).sum(2) / changed.sum(2)
        return mean.where(right & (2 * changed.sum(2) >= lines), torch.nan)

    def _ends(self, seen: Observed, labels: Tensor, split: str) -> Tensor:
        """Where the lines of each sample end: drawn samples of other classes, (K, M, D)."""
        truth = labels.cpu().numpy()
        others = [np.flatnonzero(truth != label) for label in truth]
        drawn = [
            [source.choice(places, self._lines) for places in others]
            for source in (seen.source(f"{split} lines", k) for k in range(seen.pack.members))
        ]
        return torch.from_numpy(np.array(drawn)).to(labels.device)


def first_change(same: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The share of each line (K, L) at which `same` is first false; NaN where it stays true.

    Args:
        same: whether the prediction at shares (K, L) of the lines is that of their start.
        like: a tensor (K, L, ...) of the lines' type and device.
    """
    low = like.new_zeros(like.shape[:2])
    high = torch.full_like(low, torch.nan)
    for share in GRID:
        passed = same(torch.full_like(low, share))
        searching = high.isnan()
        low = low.where(~(searching & passed), share)
        high = high.where(~(searching & ~passed), share)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        passed = same(middle.nan_to_num(nan=0.0))
        low, high = middle.where(passed, low), high.where(passed, middle)
    return (low + high) / 2


def _same(seen: Observed, start: Tensor, way: Tensor, share: Tensor, truth: Tensor) -> Tensor:
    """Whether each point of the lines is predicted as the class of its start: (K, L)."""
    at = start + share.view(*share.shape, *[1] * (start.dim() - 2)) * way
    with torch.no_grad():
        return seen.logits(seen.features(at)).argmax(2) == truth


def _first_order(
    logits: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor, rivals: Tensor
) -> Tensor:
    """The least over rivals (K, M, R) of (z_y - z_k) / |d(z_y - z_k)/dx|: (K, M)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        z = logits(x)
        own = z.gather(2, _own(labels, z))
        gaps = (own - z.gather(2, rivals)).unbind(2)
        least = torch.full_like(gaps[0], torch.inf)
        for gap in gaps:
            # Samples do not interact in evaluation, so the gradient of the sum has each one's own.
            (slope,) = torch.autograd.grad(gap.sum(), x, retain_graph=True)
            least = torch.minimum(least, gap.detach() / slope.flatten(2).norm(dim=2))
    return least


def _own(labels: Tensor, z: Tensor) -> Tensor:
    """The samples' classes as an index (K, M, 1)."""
    return labels.expand(len(z), -1)[..., None]


def _summed(values: Tensor, labels: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and low quantile of values (K, M) over each target's samples: (K, T) each."""
    rows = [values[:, row] for row in membership[:, labels]]
    empty = values.new_full((len(values),), torch.nan)
    means = [row.nanmean(1) if row.shape[1] else empty for row in rows]
    lows = [row.nanquantile(LOWEST, dim=1) if row.shape[1] else empty for row in rows]
    return torch.stack(means, dim=1), torch.stack(lows, dim=1)
