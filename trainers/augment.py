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

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.check import augmentations
from trainers.image_ops import crop_pad
from trainers.policies import auto_augment, pick, rand_augment, trivial_augment


@dataclass(frozen=True)
class Augmentation:
    """A transform of each sample on its own.

    Attributes:
        width: the uniform numbers that a sample needs.
        apply: maps images `(M, C, H, W)` and draws `(M, width)` to images of the same shape.
        images_only: whether it is undefined for tables.
    """

    width: int
    apply: Callable[[Tensor, Tensor], Tensor]
    images_only: bool = True


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
        images_only: whether it is undefined for tables.
    """

    width: int
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Mixing]]
    images_only: bool


@dataclass(frozen=True)
class Policy:
    """A sequence of augmentations, then at most one mixer.

    Both methods take draws with all `width` columns, and each part reads its own columns.
    """

    transforms: tuple[Augmentation, ...] = ()
    mixers: tuple[Mixer, ...] = ()

    @property
    def width(self) -> int:
        """The uniform numbers that a sample needs."""
        return sum(part.width for part in (*self.transforms, *self.mixers))

    def apply(self, x: Tensor, u: Tensor) -> Tensor:
        """Transforms `(M, C, H, W)` with draws `(M, width)`."""
        start = 0
        for part in self.transforms:
            x = part.apply(x, u[:, start : start + part.width])
            start += part.width
        return x

    def mix(self, x: Tensor, targets: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Mixing | None]:
        """Mixes `(K, B, ...)` and soft (smoothed) targets `(K, B, C)`, by draws `(K, B, width)`."""
        if not self.mixers:
            return x, targets, None
        mixer = self.mixers[0]
        x, mixing = mixer.mix(x, u[..., -mixer.width :])
        return x, mixing.blend(targets), mixing


def parse(text: str) -> Policy:
    """Returns the policy of names joined by +, such as `flip_crop+trivial_augment+mixup`.

    Raises:
        ConfigError: as in `check.augmentations`.
    """
    parts = [AUGMENTATIONS[name] for name in augmentations(text)]
    transforms = tuple(p for p in parts if isinstance(p, Augmentation) and p.width)
    return Policy(transforms, tuple(p for p in parts if isinstance(p, Mixer)))


def flip_crop(x: Tensor, u: Tensor) -> Tensor:
    """Mirrors half of the images, pads each with H // 8 zeros and crops it to its size again.

    The padding is 4 pixels at 32x32. Three draws: mirror, top, left.
    """
    pad = max(1, x.shape[2] // 8)
    offset = pick(u[:, 1:], 2 * pad + 1)
    flipped = torch.where((u[:, 0] < 0.5).view(-1, 1, 1, 1), x.flip(-1), x)
    return crop_pad(flipped, offset[:, 0], offset[:, 1], pad)


def mixup(x: Tensor, u: Tensor) -> tuple[Tensor, Mixing]:
    """Returns lam x + (1 - lam) x_partner; lam ~ Beta(1, 1) of each sample is the draw itself.

    Source: Zhang et al. 2018 (arXiv 1710.09412), with alpha 1.
    """
    mixing = Mixing(u[..., 0])
    return mixing.blend(x), mixing


def cutmix(x: Tensor, u: Tensor) -> tuple[Tensor, Mixing]:
    """Pastes a box of its partner into every second image; an image's weight is the area it keeps.

    The box has sides sqrt(1 - lam) of the image's, lam ~ Beta(1, 1), and a uniform centre, and is
    clipped at the border. Draws: whether, lam, row and column of the centre.

    Source: Yun et al. 2019 (arXiv 1905.04899) and its code, with probability 0.5 (CIFAR).
    """
    height, width = x.shape[-2:]
    side = torch.where(u[..., 0] < 0.5, (1.0 - u[..., 1]).sqrt(), 0.0)
    rows = _span(side, u[..., 2], height).unsqueeze(-1)
    columns = _span(side, u[..., 3], width).unsqueeze(-2)
    box = rows & columns
    kept = 1.0 - box.sum((-2, -1)) / (height * width)
    return torch.where(box.unsqueeze(2), x.roll(-1, 1), x), Mixing(kept.to(u.dtype))


def _span(side: Tensor, centre: Tensor, pixels: int) -> Tensor:
    """Which of `pixels` the box covers along an axis, `(K, B, pixels)` bool."""
    half = ((side * pixels).long() // 2).unsqueeze(-1)
    middle = pick(centre, pixels).unsqueeze(-1)
    position = torch.arange(pixels, device=side.device)
    return (position >= middle - half) & (position < middle + half)


AUGMENTATIONS: dict[str, Augmentation | Mixer] = {
    "none": Augmentation(0, lambda x, u: x, images_only=False),
    "flip_crop": Augmentation(3, flip_crop),
    "trivial_augment": Augmentation(3, trivial_augment),
    "rand_augment": Augmentation(4, rand_augment),
    "auto_augment": Augmentation(5, auto_augment),
    "mixup": Mixer(1, mixup, images_only=False),
    "cutmix": Mixer(4, cutmix, images_only=True),
}
