"""Image operations on a batch, with a strength for each sample.

Letters of the shapes: M samples, C channels (1 or 3; others count as grey), H and W pixels.
Images are float32 in 0..1. Each operation takes `(M, C, H, W)` and the parameters `(M, 6)` and
returns `(M, C, H, W)`: an affine map reads all six numbers, the others the first or none.

The definitions are those of torchvision's `transforms.v2.functional` (which follow Pillow), on
floats: nothing is rounded to bytes between two operations, unless the operation works on bytes
(posterize, equalize). A sample's result does not depend on the other samples, to the last bit.
Therefore only operations that round once are used (no `lerp`, no `add(alpha=)`, no convolution or
matrix product, whose instructions change with the shape).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

ImageOp: TypeAlias = Callable[[Tensor, Tensor], Tensor]

LUMA = (0.2989, 0.587, 0.114)


def grey(x: Tensor) -> Tensor:
    """Luminance `(M, 1, H, W)` by ITU-R 601; the mean over channels unless there are three."""
    if x.shape[1] == 3:
        red, green, blue = (x[:, c : c + 1] * LUMA[c] for c in range(3))
        return red.add_(green).add_(blue)
    return x if x.shape[1] == 1 else x.mean(1, keepdim=True)


def blend(x: Tensor, degenerate: Tensor, factor: Tensor) -> Tensor:
    """factor x + (1 - factor) degenerate, clipped to 0..1; `factor` is `(M, 1, 1, 1)`."""
    return (x * factor).add_(degenerate * (1.0 - factor)).clamp_(0.0, 1.0)


def either(chosen: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Returns x where `chosen`, or 1, else y, both finite; in a quarter of `torch.where`'s time."""
    return torch.lerp(y, x, chosen.to(x.dtype))  # exact at 0 and 1


def _first(p: Tensor) -> Tensor:
    return p[:, 0].view(-1, 1, 1, 1)


def identity(x: Tensor, p: Tensor) -> Tensor:
    """Returns the images unchanged."""
    del p
    return x


def affine(x: Tensor, p: Tensor) -> Tensor:
    """Maps the image: pixel (i, j) of the result is the nearest source pixel, or 0 outside.

    With pixel centres at half-integers, source column = p0 column + p1 row + p2 and source row =
    p3 column + p4 row + p5. Nearest neighbour is torchvision's default in all three policies; it
    creates no new grey values, which matters for 8x8 images.
    """
    height, width = x.shape[-2:]
    a, b, c, d, e, f = p.view(-1, 6, 1, 1).unbind(1)
    column = torch.arange(width, device=x.device, dtype=p.dtype) + 0.5
    row = (torch.arange(height, device=x.device, dtype=p.dtype) + 0.5).unsqueeze(-1)
    i = (d * column + e * row + f).floor_()
    j = (a * column + b * row + c).floor_()
    nearest_i, nearest_j = i.clamp(0, height - 1), j.clamp(0, width - 1)
    inside = (i == nearest_i).logical_and_(j == nearest_j)
    flat = nearest_i.mul_(width).add_(nearest_j).long()
    index = flat.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, index).view(x.shape).mul_(inside.to(x.dtype).unsqueeze(1))


def brightness(x: Tensor, p: Tensor) -> Tensor:
    """Blends with black."""
    return (x * _first(p)).clamp_(0.0, 1.0)


def color(x: Tensor, p: Tensor) -> Tensor:
    """Blends with the grey image; grey images do not change."""
    return x if x.shape[1] != 3 else blend(x, grey(x), _first(p))


def contrast(x: Tensor, p: Tensor) -> Tensor:
    """Blends with the mean luminance of the image."""
    return blend(x, grey(x).mean((1, 2, 3), keepdim=True), _first(p))


def sharpness(x: Tensor, p: Tensor) -> Tensor:
    """Blends with the image smoothed by (1 1 1; 1 5 1; 1 1 1) / 13; borders do not change."""
    if min(x.shape[-2:]) < 3:
        return x
    width = x.shape[-1]
    # Pixels one after the other: sums run over the ends of lines, and only the inner ones are used.
    flat = x.flatten(2)
    rows = (flat[..., : -2 * width] + flat[..., width:-width]).add_(flat[..., 2 * width :])
    ring = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])
    own = slice(width + 1, -width - 1)
    smooth = ring.add_(flat[..., own] * 4.0).mul_(1.0 / 13.0)
    blended = torch.empty_like(flat)
    blended[..., own] = blend(flat[..., own], smooth, p[:, :1].unsqueeze(-1))
    result = x.clone()
    result[..., 1:-1, 1:-1] = blended.view(x.shape)[..., 1:-1, 1:-1]
    return result


def posterize(x: Tensor, p: Tensor) -> Tensor:
    """Keeps the upper bits of each byte; the parameter is 2 to the number of dropped bits."""
    dropped = _first(p)
    return ((x * 255.0).round_() / dropped).floor_().mul_(dropped).div_(255.0)


def solarize(x: Tensor, p: Tensor) -> Tensor:
    """Inverts pixels at or above the threshold (in 0..1)."""
    return either(x >= _first(p), 1.0 - x, x)


def invert(x: Tensor, p: Tensor) -> Tensor:
    """Returns 1 - x."""
    del p
    return 1.0 - x


def autocontrast(x: Tensor, p: Tensor) -> Tensor:
    """Stretches each channel to 0..1; a constant channel does not change."""
    del p
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = low == high
    span = torch.where(flat, 1.0, high - low)
    return ((x - torch.where(flat, 0.0, low)) / span).clamp_(0.0, 1.0)


def equalize(x: Tensor, p: Tensor) -> Tensor:
    """Flattens each channel's histogram of 256 bytes, by Pillow's rule in whole numbers.

    Step = (pixels below the brightest value) // 255. A step of 0 does not change the channel, so
    images of fewer than 256 pixels, such as 8x8, never change.
    """
    del p
    pixels = x.shape[-2] * x.shape[-1]
    if pixels <= 255:
        return x
    channels = x.flatten(2).flatten(0, 1)
    bytes_ = (channels * 255.0).round_().clamp_(0, 255).long()
    counts = torch.zeros(len(bytes_), 256, dtype=torch.int64, device=x.device)
    counts.scatter_add_(
        1, bytes_, torch.ones((), dtype=torch.int64, device=x.device).expand_as(bytes_)
    )
    below = counts.cumsum(1) - counts
    step = below.gather(1, bytes_.amax(1, keepdim=True)) // 255
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    result = table.to(x.dtype).div_(255.0).gather(1, bytes_)
    return either(step > 0, result, channels).view(x.shape)


def hue(x: Tensor, shift: Tensor) -> Tensor:
    """Rotates the hue by `shift` `(M,)` turns, -0.5..0.5, and keeps HSV's saturation and value.

    A colour of value v and chroma c has, in each channel, v - c max(0, min(k, 4 - k, 1)) with
    k = (n + 6 h) mod 6 and n = 5, 3, 1 for red, green, blue. Grey images do not change.
    """
    if x.shape[1] != 3:
        return x
    red, green, blue = x.unbind(1)
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    span = chroma.clamp(min=torch.finfo(x.dtype).tiny)  # 0 / span is 0 where all are equal
    # A channel is never above the value: the sign is 0 where it has it, and -1 elsewhere.
    is_red, is_green = ((one - value).sign_().add_(1.0) for one in (red, green))
    of_blue = either(is_green, (blue - red) / span + 2.0, (red - green) / span + 4.0)
    sixths = either(is_red, (green - blue) / span, of_blue)
    turned = sixths + 6.0 * shift.view(-1, 1, 1)
    k = torch.stack([turned + n for n in (5.0, 3.0, 1.0)], 1)
    k.sub_((k / 6.0).floor_().mul_(6.0))  # as `remainder`, which takes four times as long
    weight = torch.minimum(k, 4.0 - k).clamp_(0.0, 1.0)
    return value.unsqueeze(1) - weight.mul_(chroma.unsqueeze(1))


def jitter(x: Tensor, u: Tensor, strength: float, factor: Tensor | None = None) -> Tensor:
    """Brightness, contrast and saturation by 1 +- 0.8 s, hue by +- 0.2 s turns, in this order.

    The draws of the four strengths are `u`, (M, 4). A `factor` (M,) weakens each sample's.
    """
    changes, turn = 0.8 * strength * (2.0 * u[:, :3] - 1.0), 0.2 * strength * (2.0 * u[:, 3] - 1.0)
    if factor is not None:
        changes, turn = changes * factor[:, None], turn * factor
    factors = 1.0 + changes
    x = contrast(brightness(x, factors[:, :1]), factors[:, 1:2])
    return hue(color(x, factors[:, 2:]), turn)


def blur(x: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Smooths each image by a normal curve of deviation `sigma`, (M,) pixels, mirrored outside.

    The curve is cut after `reach` pixels, which must be fewer than the image has along a side.
    """
    steps = torch.arange(-reach, reach + 1, device=x.device, dtype=torch.float64)
    curve = (-0.5 * (steps / sigma.double()[:, None]) ** 2).exp()
    weights = (curve / curve.sum(1, keepdim=True)).to(x.dtype).view(len(x), -1, 1, 1, 1).unbind(1)
    height, width = x.shape[-2:]
    x = F.pad(x, (reach, reach, reach, reach), mode="reflect")
    x = _sum([w * x[..., i : i + height, :] for i, w in enumerate(weights)])
    return _sum([w * x[..., i : i + width] for i, w in enumerate(weights)])


def _sum(terms: list[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def crop_pad(x: Tensor, top: Tensor, left: Tensor, pad: int) -> Tensor:
    """Pads images with `pad` zeros and crops them to their size again, at `top`, `left` `(M,)`."""
    samples, _, height, width = x.shape
    windows = F.pad(x, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(samples, device=x.device), :, top, left]


IMAGE_OPS: dict[str, ImageOp] = {
    "identity": identity,
    "affine": affine,
    "brightness": brightness,
    "color": color,
    "contrast": contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "invert": invert,
    "autocontrast": autocontrast,
    "equalize": equalize,
}
