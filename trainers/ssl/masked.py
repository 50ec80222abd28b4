"""Masked reconstruction of images."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.hyper import Hyper
from trainers.models.layers import Linear
from trainers.ssl import Entrance, SSLEncoder, TwoViews, Views
from trainers.state import State

PATCHES = 8  # patches along a side, at most: 4x4 pixels of a 32x32 image


class Masked(TwoViews):
    """Patches of an image are replaced by its channels' means, and predicted from the features.

    A linear layer decodes the pooled features, since a convolutional network has no token for a
    patch. The loss is the mean square over the masked pixels of the normalised image.

    Source: He et al. 2022 (arXiv 2111.06377), section 3, with a share `masked.share` of patches.
    """

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, width: int, inputs: tuple[int, ...]
    ) -> None:
        self.share = train.parameters("masked").share
        self.decoder = Linear(
            blueprint, "projector.decoder", width, inputs[0] * inputs[1] * inputs[2]
        )

    def draws(self, shape: tuple[int, ...]) -> int:
        return patches(shape[1]) * patches(shape[2])

    def views(
        self,
        x: Tensor,
        draws: tuple[Tensor, Tensor],
        *,
        rows: Tensor | None,
        entrance: Entrance,
    ) -> Views:
        """The masked images, and mask and image as rows (K, n, C H W)."""
        del rows
        image = entrance.normalised(x)
        mask = masks(draws[0], self.share, (x.shape[-2], x.shape[-1])).unsqueeze(2)
        covered = entrance.converted(image.masked_fill(mask, 0.0))
        return covered, mask.expand_as(image).flatten(2).to(image.dtype), image.flatten(2)

    def outputs(self, encoder: SSLEncoder, views: Views, memory: State) -> Views:
        """The predicted pixels, (K, n, C H W)."""
        del memory
        return (encoder(views[0], self.decoder),)

    def loss(self, outputs: Views, views: Views, hyper: Hyper) -> Tensor:
        del hyper
        _, mask, image = views
        wrong = mask * (outputs[0] - image).square()
        return wrong.sum((1, 2)) / mask.sum((1, 2)).clamp(min=1.0)


def patches(side: int) -> int:
    """The patches along a side: 8 of 4 pixels at 32, never smaller than 2 pixels."""
    return max(1, min(PATCHES, side // 2))


def masks(draws: Tensor, share: float, size: tuple[int, int]) -> Tensor:
    """Which pixels are masked, (K, n, H, W) bool: the patches with the smallest draws.

    Args:
        draws: (K, n, patches) uniform numbers, one for each patch.
        share: of the patches that are masked, rounded to whole patches, at least one.
        size: height and width in pixels.
    """
    rank = draws.argsort(-1).argsort(-1)
    number = max(1, round(share * draws.shape[-1]))
    down, along = patches(size[0]), patches(size[1])
    chosen = (rank < number).unflatten(-1, (down, along))
    rows = torch.arange(size[0], device=draws.device) * down // size[0]
    columns = torch.arange(size[1], device=draws.device) * along // size[1]
    return chosen[..., rows, :][..., columns]
