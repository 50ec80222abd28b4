"""CC-SAM: a radius for each class, around the last layer.

Letters: K members, B samples of a batch.
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


class CCSAM:
    """The gradient of (1 - f) l, and f l where the last layer stands uphill of the sample's class.

    For each class c in the batch, each tensor w of the last layer moves by eps = r_c g_c / |g_c|,
    with g_c the gradient of the mean loss of the batch's samples of c, and

        r_c = radius (|w| / |g_c|)^(1/2) (n_c - 1)^(-1/4);

    a class of one sample counts as two. The loss there is that of the samples of c alone. f is
    `cc_sam.share`. The last layer is what makes logits of features, so its passes cost little; a
    network without features moves as a whole.

    This is the first of the method's two stages. The second, an adversarial shift of the features
    of a frozen network under class-balanced sampling, is not here. `sam.radius` is the code's noise
    ratio times (d / 4)^(1/4), d the numbers of the last layer: about 4e-6 for its ratio of 1e-6.

    Source: Zhou et al. 2023 (CC-SAM, CVPR), and its code for the radius and the layer.
    """

    def __init__(self, parameters: Parameters, hyper: Hyper, counts: Sequence[int]) -> None:
        del parameters
        self.of_classes: Mapping[str, Tensor] = {}
        self.radius, self.share = hyper.tensor("sam.radius"), hyper.tensor("cc_sam.share")[:, None]
        self._by_size = [max(1, count - 1) ** -0.25 for count in counts]

    def gradient(self, passes: Passes, batch: Batch) -> tuple[Tensor, LossTerms]:
        terms = passes.terms(batch)
        views = passes.parameters.views
        apart = {name: view.detach().requires_grad_() for name, view in views.items()}
        here = passes.head_losses(terms.features.detach(), batch, apart)
        uphill = terms.losses
        for label in sorted(set(batch.labels.flatten().tolist())):
            own = batch.labels == label
            mean = (own * here).sum(1) / own.sum(1).clamp(min=1)
            ways = torch.autograd.grad(
                mean.sum(), list(apart.values()), retain_graph=True, allow_unused=True
            )
            radius = self.radius * self._by_size[label]
            moved = {
                name: views[name] + climb(apart[name].detach(), way, radius)
                for name, way in zip(apart, ways, strict=True)
                if way is not None
            }
            there = passes.head_losses(terms.features, batch, {**views, **moved})
            uphill = torch.where(own, there, uphill)
        mixed = torch.lerp(terms.losses, uphill, self.share)
        return passes.gradient(terms.plus_ssl(mixed.mean(1))), terms


def climb(weights: Tensor, way: Tensor, radius: Tensor) -> Tensor:
    """radius (|w| / |g|)^(1/2) g / |g| of each member, and 0 where the gradient is 0.

    Args:
        weights: a view of a parameter whose first dimension has the members one after the other.
        way: its gradient g.
        radius: (K,).
    """
    members = len(radius)
    size, steep = (torch.linalg.vector_norm(t.reshape(members, -1), dim=1) for t in (weights, way))
    factors = torch.where(steep > 0, radius * size.sqrt() / steep**1.5, 0.0)
    return (way.reshape(members, -1) * factors[:, None]).view_as(way)
