"""SAM for a part of the loss: ImbSAM and Focal-SAM.

Letters: K members, P parameters of one member, B samples, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainers.hyper import Hyper
from trainers.parameters import Parameters
from trainers.steps import Passes

if TYPE_CHECKING:
    from trainers.feed import Batch
    from trainers.pack import LossTerms

NORM_EPSILON = 1e-12
SHARP = "sharp"


class SplitSAM:
    """The gradient of the mean of (1 - b) l here, plus that of the mean of b l a radius uphill.

    b is the share of each class's loss that is made flat; uphill is that of the mean of b l. A
    batch whose b are all 0 takes a plain step. The SSL loss belongs to the first part.
    """

    def __init__(self, parameters: Parameters, hyper: Hyper, shares: Tensor) -> None:
        """Args: shares: b of each member's classes, (K, C)."""
        self.radius = hyper.tensor("sam.radius")
        self.of_classes: Mapping[str, Tensor] = {SHARP: shares.to(parameters.data)}
        self._home = torch.empty_like(parameters.data)

    def gradient(self, passes: Passes, batch: Batch) -> tuple[Tensor, LossTerms]:
        terms, share = passes.terms(batch), batch.of_samples[SHARP]
        total = passes.gradient(terms.plus_ssl(((1.0 - share) * terms.losses).mean(1)), again=True)
        uphill = passes.gradient((share * terms.losses).mean(1))
        data, layout = passes.parameters.data, passes.parameters.layout
        factors = self.radius / (layout.norms(uphill) + NORM_EPSILON)
        self._home.copy_(data)
        layout.add_scaled_(data, uphill, factors)
        there = passes.terms(batch, first=False)
        total.add_(passes.gradient((share * there.losses).mean(1)))
        data.copy_(self._home)
        return total, terms


class ImbSAM(SplitSAM):
    """SAM for the classes with fewer than `imbsam.tail` training samples only.

    Source: Zhou et al. 2023 (arXiv 2308.07815), equation 5, without its code's factor 2.
    """

    def __init__(self, parameters: Parameters, hyper: Hyper, counts: Sequence[int]) -> None:
        sizes = torch.tensor(counts)
        rows = [(sizes < tail).double() for tail in hyper.values("imbsam.tail")]
        super().__init__(parameters, hyper, torch.stack(rows))


class FocalSAM(SplitSAM):
    """SAM for a share b_c = lambda (1 - n_c / N)^gamma of each class's loss.

    Source: Focal-SAM's code (Li et al. 2025); `focal_sam.share` is lambda.
    """

    def __init__(self, parameters: Parameters, hyper: Hyper, counts: Sequence[int]) -> None:
        sizes = torch.tensor(counts, dtype=torch.float64)
        rest = 1.0 - sizes / sizes.sum()
        shares, powers = hyper.values("focal_sam.share"), hyper.values("focal_sam.gamma")
        rows = [share * rest**power for share, power in zip(shares, powers, strict=True)]
        super().__init__(parameters, hyper, torch.stack(rows))
