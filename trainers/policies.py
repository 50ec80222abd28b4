"""The learned and random policies: one or two image operations for each sample.

Letters of the shapes: M samples, C channels, H and W pixels. Images are `(M, C, H, W)` float32 in
0..1, draws `(M, width)` uniform in [0, 1).

Operations and strengths are torchvision's (TrivialAugmentWide, RandAugment, AutoAugment for
CIFAR-10), with nearest neighbour and black outside. A small table for each image size has a row for
every strength that a policy can draw, and a draw picks a row. On a CPU the samples are sorted by
operation, and each operation runs once on its samples. On a GPU, reading which operations were
drawn would wait for the device, so every operation runs on all samples and the right result is
picked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from trainers.image_ops import IMAGE_OPS, either

OPS = tuple(IMAGE_OPS.values())
KIND = {name: position for position, name in enumerate(IMAGE_OPS)}
MAPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
BLENDS = ("brightness", "color", "contrast", "sharpness")
SIGNED = (*MAPS, *BLENDS)
PLAIN = ("identity", "autocontrast", "equalize", "invert")

STRENGTHS = 31  # from none to full

Row: TypeAlias = tuple[int, tuple[float, ...]]

# The operations of TrivialAugmentWide and RandAugment.
DRAWN_OPS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness",
    "color", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip

# AutoAugment's policy for CIFAR-10 (Cubuk et al. 2019, arXiv 1805.09501): operation, chance,
# strength 0..9 (ignored by operations without strength).
CIFAR10_POLICIES = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
)


def pick(u: Tensor, choices: int | Tensor) -> Tensor:
    """Maps uniform numbers to whole numbers 0..choices - 1, int64."""
    return (u * choices).long().clamp_(max=choices - 1)


def _magnitudes(bins: int, *, wide: bool, height: int, width: int) -> dict[str, list[float]]:
    """Strengths of each operation from none to full, without sign.

    TrivialAugment translates by up to 32 pixels; here the image's width is the limit, or three
    quarters of all 8x8 images would become empty.
    """
    most = 0.99 if wide else 0.9
    shear, turn, bits = (0.99, 135.0, 6) if wide else (0.3, 30.0, 4)
    along, down = (min(32.0, p) if wide else 150 / 331 * p for p in (width, height))
    top = {"shear_x": shear, "shear_y": shear, "translate_x": along, "translate_y": down}
    top |= {"rotate": turn} | dict.fromkeys(BLENDS, most)
    last = bins - 1
    table = {name: [value * step / last for step in range(bins)] for name, value in top.items()}
    table["posterize"] = [8.0 - round(bits * step / last) for step in range(bins)]
    table["solarize"] = [255.0 * (last - step) / last for step in range(bins)]
    return table | {name: [0.0] * bins for name in PLAIN}


def _row(name: str, value: float, *, height: int, width: int) -> Row:
    """The kind and six parameters of an operation at a signed strength."""
    if name in MAPS:
        return KIND["affine"], _map(name, value, height=height, width=width)
    scalar = {
        "posterize": 2.0 ** (8 - value),
        # Half-way between two bytes, so that the rounding of k / 255 has no effect.
        "solarize": (math.ceil(value - 1e-6) - 0.5) / 255.0,
    }.get(name, 1.0 + value)
    return KIND[name], (scalar, 0.0, 0.0, 0.0, 0.0, 0.0)


def _map(name: str, value: float, *, height: int, width: int) -> tuple[float, ...]:
    """The affine map for `image_ops.affine`, as in torchvision; a shear is about the corner."""
    cos, sin = math.cos(math.radians(value)), math.sin(math.radians(value))
    x, y = width / 2, height / 2
    return {
        "shear_x": (1.0, value, 0.0, 0.0, 1.0, 0.0),
        "shear_y": (1.0, 0.0, 0.0, value, 1.0, 0.0),
        "translate_x": (1.0, 0.0, -float(int(value)), 0.0, 1.0, 0.0),
        "translate_y": (1.0, 0.0, 0.0, 0.0, 1.0, -float(int(value))),
        "rotate": (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y),
    }[name]


@dataclass(frozen=True)
class OperationTable:
    """The operations that a stage of a policy can draw, one in each row.

    Attributes:
        kinds: `(rows,)` int64 positions in `image_ops.IMAGE_OPS`.
        parameters: `(rows, 6)` float32.
        used: the kinds that occur.
    """

    kinds: Tensor
    parameters: Tensor
    used: tuple[int, ...]

    def run(self, x: Tensor, rows: Tensor) -> Tensor:
        """Applies to each sample of `(M, C, H, W)` the operation of its row, `(M,)` int64."""
        kinds, p = self.kinds[rows], self.parameters[rows].to(x.dtype)
        if x.device.type == "cpu":
            return sorted_by_kind(x, kinds, p)
        return all_kinds(x, kinds, p, self.used)


def sorted_by_kind(x: Tensor, kinds: Tensor, p: Tensor) -> Tensor:
    """Runs each operation once, on its samples. Reads the draws, so not for a GPU."""
    order = kinds.argsort(stable=True)
    sizes = torch.bincount(kinds, minlength=len(OPS)).tolist()
    images, own = x.index_select(0, order), p.index_select(0, order)
    groups = zip(OPS, images.split(sizes), own.split(sizes), strict=True)
    done = torch.cat([op(part, of_part) for op, part, of_part in groups if len(part)])
    return done.index_select(0, order.argsort())


def all_kinds(x: Tensor, kinds: Tensor, p: Tensor, used: Sequence[int]) -> Tensor:
    """Runs each operation on all samples and picks each sample's result; never waits for a GPU."""
    result = x
    for kind in used:
        chosen = (kinds == kind).view(-1, 1, 1, 1)
        result = either(chosen, OPS[kind](x, p), result)
    return result


def _table(rows: Sequence[Row], device: torch.device) -> OperationTable:
    kinds = torch.tensor([kind for kind, _ in rows], device=device)
    parameters = torch.tensor([p for _, p in rows], dtype=torch.float32, device=device)
    return OperationTable(kinds, parameters, tuple(sorted({kind for kind, _ in rows})))


def _both_signs(name: str, value: float, *, height: int, width: int) -> list[Row]:
    signs = (1.0, -1.0) if name in SIGNED else (1.0, 1.0)
    return [_row(name, sign * value, height=height, width=width) for sign in signs]


@lru_cache(maxsize=64)
def _drawn_table(wide: bool, height: int, width: int, device: torch.device) -> OperationTable:
    """Each operation at each of 31 strengths with each sign."""
    strengths = _magnitudes(STRENGTHS, wide=wide, height=height, width=width)
    rows = [
        row
        for name in DRAWN_OPS
        for value in strengths[name]
        for row in _both_signs(name, value, height=height, width=width)
    ]
    return _table(rows, device)


@lru_cache(maxsize=64)
def _auto_table(stage: int, height: int, width: int, device: torch.device) -> OperationTable:
    strengths = _magnitudes(10, wide=False, height=height, width=width)
    none = _row("identity", 0.0, height=height, width=width)
    rows = []
    for pair in CIFAR10_POLICIES:
        name, _, strength = pair[stage]
        both = _both_signs(name, strengths[name][strength], height=height, width=width)
        rows += [none, none, *both]
    return _table(rows, device)


@lru_cache(maxsize=8)
def _auto_chances(stage: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor([p[stage][1] for p in CIFAR10_POLICIES], device=device, dtype=dtype)


def trivial_augment(x: Tensor, u: Tensor, factor: Tensor | None = None) -> Tensor:
    """One operation for each sample, at a random strength. Draws: operation, strength, sign.

    Args:
        factor: of each sample's strongest strength, (M,), rounded to a whole one; None: 1.
    """
    most = STRENGTHS if factor is None else ((STRENGTHS - 1) * factor).round().long() + 1
    strength = pick(u[:, 1], most)
    return _drawn(x, u[:, 0], strength, u[:, 2], wide=True)


def rand_augment(
    x: Tensor,
    u: Tensor,
    factor: Tensor | None = None,
    *,
    operations: int = 2,
    strength: int = 9,
) -> Tensor:
    """Some operations for each sample, at a strength of 31. Draws: operation and sign of each.

    Args:
        factor: of each sample's strength, (M,), rounded to a whole one; None: 1.
    """
    own = strength if factor is None else (strength * factor).round().long()
    for stage in range(operations):
        x = _drawn(x, u[:, 2 * stage], own, u[:, 2 * stage + 1], wide=False)
    return x


def _drawn(
    x: Tensor, operation: Tensor, strength: int | Tensor, sign: Tensor, *, wide: bool
) -> Tensor:
    """Runs on each sample a drawn operation at a strength 0..30, with a drawn sign."""
    row = (pick(operation, len(DRAWN_OPS)) * STRENGTHS + strength) * 2 + pick(sign, 2)
    return _drawn_table(wide, *x.shape[-2:], x.device).run(x, row)


def auto_augment(x: Tensor, u: Tensor) -> Tensor:
    """One of 25 learned pairs of operations. Draws: pair, then chance and sign of each."""
    pair = pick(u[:, 0], len(CIFAR10_POLICIES))
    for stage in range(2):
        chance, sign = u[:, 1 + 2 * stage], u[:, 2 + 2 * stage]
        happens = (chance < _auto_chances(stage, x.device, u.dtype)[pair]).long()
        row = (pair * 2 + happens) * 2 + pick(sign, 2)
        x = _auto_table(stage, *x.shape[-2:], x.device).run(x, row)
    return x
