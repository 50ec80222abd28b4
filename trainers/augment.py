"""Augments whole batches, using random draws that are passed in.

Letters of the shapes: K members, B samples of a batch, M samples of any batch, C channels (or
classes, for targets). Images are `(M, C, H, W)` float32 in 0..1, draws `(M, width)` uniform in
[0, 1). This file draws nothing itself. A sample's result depends only on the sample and its draws,
to the last bit, so a caller may augment many small batches in one call. Mixers are the exception:
they mix the samples of one batch.

The policies of `policies.py` contain neither flip nor crop: `flip_crop+auto_augment` is the usual
recipe for photographs. A flip makes no sense for digits or letters, so a spec has to request it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from trainers import catalogue
from trainers.check import augmentations
from trainers.config import TrainConfig
from trainers.image_ops import blur, crop_pad, either, jitter
from trainers.policies import auto_augment, pick, rand_augment, trivial_augment
from trainers.row_noise import RowAugmentation, TableRows

QUANTILES = 4096
LEAST_BLUR = 0.1  # pixels


@dataclass(frozen=True)
class Augmentation:
    """A transform of each sample on its own.

    Attributes:
        width: the uniform numbers that a sample needs.
        apply: maps images `(M, C, H, W)` and draws `(M, width)` to images of the same shape.
        weakened: the same, with a factor `(M,)` of each sample's strength; None: it has none.
    """

    width: int
    apply: Callable[[Tensor, Tensor], Tensor]
    weakened: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    def run(self, x: Tensor, u: Tensor, factor: Tensor | None) -> Tensor:
        """Transforms images, weakened by a factor if there is one."""
        if factor is None or self.weakened is None:
            return self.apply(x, u)
        return self.weakened(x, u, factor)


@dataclass(frozen=True)
class Mixing:
    """How the samples of a batch were mixed: sample b with b + 1, the last with the first.

    The order of a batch is random, so the neighbour is a random partner and needs no draw. A batch
    of one sample is mixed with itself and so does not change.

    Attributes:
        weight: `(K, B)`, the share of itself that a sample keeps.
    """

    weight: Tensor

    def blend(self, values: Tensor) -> Tensor:
        """Mixes any numbers of the samples, `(K, B, ...)`: soft targets, ascent weights.

        Raises:
            TypeError: the numbers are integers. Labels cannot be mixed, only soft targets can.
        """
        if not values.is_floating_point():
            raise TypeError("only floating-point values can be mixed; make labels soft first")
        share = self.weight.view(*self.weight.shape, *[1] * (values.ndim - 2)).to(values.dtype)
        return values * share + values.roll(-1, 1) * (1.0 - share)


@dataclass(frozen=True)
class Mixer:
    """A transform of pairs of samples of a batch.

    Attributes:
        width: the uniform numbers that a sample needs.
        mix: maps inputs `(K, B, ...)` and draws `(K, B, width)` to mixed inputs and their mixing.
        of_targets: how targets are mixed, from the mixing of the inputs and the training samples of
            each sample's class, `(K, B)`; None: as the inputs.
    """

    width: int
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Mixing]]
    of_targets: Callable[[Mixing, Tensor], Mixing] | None = None


@dataclass(frozen=True)
class Policy:
    """A sequence of augmentations, then at most one mixer.

    Its methods take draws with all columns, and each part reads its own columns.
    """

    transforms: tuple[Augmentation | RowAugmentation, ...] = ()
    mixers: tuple[Mixer, ...] = ()

    def width(self, columns: int = 1) -> int:
        """The uniform numbers that a sample needs; `columns`: of a table."""
        return sum(_width(part, columns) for part in (*self.transforms, *self.mixers))

    def apply(
        self,
        x: Tensor,
        u: Tensor,
        table: TableRows | None = None,
        *,
        factor: Tensor | None = None,
    ) -> Tensor:
        """Transforms images `(M, C, H, W)`, or rows `(K, n, F)` of a table, with draws of each.

        A `factor`, `(M,)` or `(K, n)`, weakens what has a strength.
        """
        start = 0
        for part in self.transforms:
            width = _width(part, x.shape[-1])
            own, start = u[..., start : start + width], start + width
            if isinstance(part, Augmentation):
                x = part.run(x, own, factor)
            elif table is not None:
                x = part.run(x, own, table, factor)
        return x

    def mix(
        self, x: Tensor, targets: Tensor, u: Tensor, sizes: Tensor
    ) -> tuple[Tensor, Tensor, Mixing | None]:
        """Mixes `(K, B, ...)` and soft (smoothed) targets `(K, B, C)`, by draws `(K, B, width)`.

        Returns the mixing of the targets too. `sizes` are the training samples of each sample's
        class, `(K, B)`.
        """
        if not self.mixers:
            return x, targets, None
        mixer = self.mixers[0]
        x, mixing = mixer.mix(x, u[..., -mixer.width :])
        if mixer.of_targets is not None:
            mixing = mixer.of_targets(mixing, sizes)
        return x, mixing.blend(targets), mixing


def _width(part: Augmentation | RowAugmentation | Mixer, columns: int) -> int:
    return part.width * columns if isinstance(part, RowAugmentation) else part.width


def parse(train: TrainConfig) -> Policy:
    """Returns the policy of a configuration, such as `flip_crop+trivial_augment+mixup`.

    Raises:
        ConfigError: as in `check.augmentations`.
    """
    parts = [part(name, train) for name in augmentations(train.augmentation)]
    transforms = tuple(p for p in parts if not isinstance(p, Mixer) and p.width)
    return Policy(transforms, tuple(p for p in parts if isinstance(p, Mixer)))


def part(name: str, train: TrainConfig) -> Augmentation | RowAugmentation | Mixer:
    """One augmentation; its entry names it, or a function that makes it from the configuration."""
    made = catalogue.get("augmentation", name).load()
    return made if isinstance(made, Augmentation | RowAugmentation | Mixer) else made(train)


def flip_crop(x: Tensor, u: Tensor) -> Tensor:
    """Mirrors half of the images, pads each with H // 8 zeros and crops it to its size again.

    The padding is 4 pixels at 32x32. Three draws: mirror, top, left.
    """
    pad = max(1, x.shape[2] // 8)
    offset = pick(u[:, 1:], 2 * pad + 1)
    flipped = either((u[:, 0] < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)
    return crop_pad(flipped, offset[:, 0], offset[:, 1], pad)


def rand_augment_of(train: TrainConfig) -> Augmentation:
    """RandAugment with the configuration's number of operations and strength."""
    one = train.parameters("rand_augment")
    apply = partial(rand_augment, operations=one.operations, strength=one.strength)
    return Augmentation(2 * one.operations, apply, apply)


def mixup_of(train: TrainConfig) -> Mixer:
    """Mixup with the configuration's alpha."""
    return Mixer(1, partial(mixup, shares=beta_shares(train.parameters("mixup").alpha)))


def cutmix_of(train: TrainConfig) -> Mixer:
    """CutMix with the configuration's alpha and probability."""
    one = train.parameters("cutmix")
    return Mixer(4, partial(cutmix, shares=beta_shares(one.alpha), chance=one.probability))


def beta_shares(alpha: float) -> Callable[[Tensor], Tensor]:
    """Maps uniform numbers to Beta(alpha, alpha), by its inverse distribution function.

    Beta(1, 1) is the uniform number itself. Otherwise a table of 4,097 quantiles is interpolated.
    """
    if alpha == 1.0:
        return lambda u: u
    from scipy.special import betaincinv  # 0.2 s to load, which only mixed batches need

    quantiles = betaincinv(alpha, alpha, np.linspace(0.0, 1.0, QUANTILES + 1))
    table = torch.from_numpy(quantiles)

    def shares(u: Tensor) -> Tensor:
        held = table.to(u)
        place = u * QUANTILES
        lower = place.long().clamp(max=QUANTILES - 1)
        return torch.lerp(held[lower], held[lower + 1], place - lower)

    return shares


def mixup(x: Tensor, u: Tensor, *, shares: Callable[[Tensor], Tensor]) -> tuple[Tensor, Mixing]:
    """Returns lam x + (1 - lam) x_partner; `shares` makes lam of a sample's draw.

    Source: Zhang et al. 2018 (arXiv 1710.09412).
    """
    mixing = Mixing(shares(u[..., 0]))
    return mixing.blend(x), mixing


def cutmix(
    x: Tensor, u: Tensor, *, shares: Callable[[Tensor], Tensor], chance: float = 0.5
) -> tuple[Tensor, Mixing]:
    """Pastes a box of its partner into some images; an image's weight is the area it keeps.

    The box has sides sqrt(1 - lam) of the image's, and a uniform centre, and is clipped at the
    border. Draws: whether, lam (`shares`), row and column of the centre.

    Source: Yun et al. 2019 (arXiv 1905.04899) and its code, with probability 0.5 (CIFAR).
    """
    height, width = x.shape[-2:]
    side = torch.where(u[..., 0] < chance, (1.0 - shares(u[..., 1])).sqrt(), 0.0)
    rows = _span(side, u[..., 2], height).unsqueeze(-1)
    columns = _span(side, u[..., 3], width).unsqueeze(-2)
    box = rows & columns
    kept = 1.0 - box.sum((-2, -1)) / (height * width)
    return torch.where(box.unsqueeze(2), x.roll(-1, 1), x), Mixing(kept.to(u.dtype))


def remix_of(train: TrainConfig) -> Mixer:
    """ReMix with the configuration's alpha, ratio and share."""
    one = train.parameters("remix")
    mix = partial(mixup, shares=beta_shares(one.alpha))
    return Mixer(1, mix, partial(rebalanced, ratio=one.ratio, share=one.share))


def rebalanced(mixing: Mixing, sizes: Tensor, *, ratio: float, share: float) -> Mixing:
    """The mixing of ReMix's targets: a much smaller class takes the target of a pair.

    With n_i samples of the sample's class and n_j of its partner's, lam becomes 0 if
    n_i >= ratio n_j and lam < share; 1 if n_j >= ratio n_i and 1 - lam < share; else it stays.

    Source: Chou et al. 2020 (arXiv 2007.03943), equation 4; its kappa and tau.
    """
    own, others, lam = sizes, sizes.roll(-1, 1), mixing.weight
    lam = torch.where((own >= ratio * others) & (lam < share), 0.0, lam)
    return Mixing(torch.where((others >= ratio * own) & (1.0 - lam < share), 1.0, lam))


def color_jitter_of(train: TrainConfig) -> Augmentation:
    """Colour jitter with the configuration's strength and probability."""
    one = train.parameters("color_jitter")

    def apply(x: Tensor, u: Tensor, factor: Tensor | None = None) -> Tensor:
        changed = jitter(x, u[:, 1:], one.strength, factor)
        return either(_below(u, one.probability), changed, x)

    return Augmentation(5, apply, apply)


def blur_of(train: TrainConfig) -> Augmentation:
    """Gaussian blur with the configuration's largest sigma and probability; sigma is uniform."""
    one = train.parameters("blur")

    def apply(x: Tensor, u: Tensor, factor: Tensor | None = None) -> Tensor:
        more = (one.sigma - LEAST_BLUR) * u[:, 1]
        sigma = LEAST_BLUR + (more if factor is None else more * factor)
        reach = min(math.ceil(3.0 * one.sigma), min(x.shape[-2:]) - 1)
        return either(_below(u, one.probability), blur(x, sigma, reach), x)

    return Augmentation(2, apply, apply)


def _below(u: Tensor, chance: float) -> Tensor:
    return (u[:, 0] < chance).view(-1, 1, 1, 1)


def erasing_of(train: TrainConfig) -> Augmentation:
    """Random erasing with the configuration's probability."""
    return Augmentation(5, partial(erase, chance=train.parameters("erasing").probability))


def erase(x: Tensor, u: Tensor, *, chance: float) -> Tensor:
    """Sets a rectangle of some images to grey (0.5).

    It has 2 to 33 % of the area, and sides in a ratio of 0.3 to 3.3, cut to the image.
    Draws: whether, area, ratio, top, left.

    Source: Zhong et al. 2020 (arXiv 1708.04896), algorithm 1, with a fixed number of draws.
    """
    height, width = x.shape[-2:]
    area = (0.02 + 0.31 * u[:, 1]) * height * width
    ratio = (math.log(0.3) + (math.log(3.3) - math.log(0.3)) * u[:, 2]).exp()
    tall = (area * ratio).sqrt().round().clamp(1, height).long()
    wide = (area / ratio).sqrt().round().clamp(1, width).long()
    top = (u[:, 3] * (height - tall + 1)).long()
    left = (u[:, 4] * (width - wide + 1)).long()
    rows = torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device)
    down = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    along = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    gone = down[:, :, None] & along[:, None, :] & (u[:, 0] < chance)[:, None, None]
    return x.masked_fill(gone[:, None], 0.5)


def _span(side: Tensor, centre: Tensor, pixels: int) -> Tensor:
    """Which of `pixels` the box covers along an axis, `(K, B, pixels)` bool."""
    half = ((side * pixels).long() // 2).unsqueeze(-1)
    middle = pick(centre, pixels).unsqueeze(-1)
    position = torch.arange(pixels, device=side.device)
    return (position >= middle - half) & (position < middle + half)


NONE = Augmentation(0, lambda x, u: x)
FLIP_CROP = Augmentation(3, flip_crop)
TRIVIAL_AUGMENT = Augmentation(3, trivial_augment, trivial_augment)
AUTO_AUGMENT = Augmentation(5, auto_augment)
