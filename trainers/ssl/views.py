"""Views of a batch for self-supervision.

Letters of the shapes: K members, n samples, C channels, H and W pixels, F features of a table, N
rows of the training subset. Draws are uniform in [0, 1) and are passed in: this file draws nothing
itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainers.image_ops import either, grey, jitter
from trainers.policies import pick

CORRUPTED_SHARE = 0.6
SMALLEST_AREA = 0.08
FEWEST_PIXELS = 4
JITTER = 0.5
IMAGE_WIDTH = 11


def view_width(shape: tuple[int, ...]) -> int:
    """The draws for one view of one sample, from its shape `(C, H, W)` or `(F,)`."""
    return IMAGE_WIDTH if len(shape) == 3 else 2 * shape[0]


def ssl_views(
    x: Tensor, draws: tuple[Tensor, Tensor], pool: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns two views of the shape of `x`.

    Images: SimCLR's view, twice. Tables: the unchanged rows, and corrupted rows (SCARF; only the
    second draws are read).

    Args:
        x: `(K, n, C, H, W)` in 0..1, or `(K, n, F)` (numbers or categorical codes).
        draws: of each view, `(K, n, view_width)`.
        pool: tables: `(K or 1, N, F)`, rows whose values replace corrupted ones; by default those
            of the batch.
    """
    if x.ndim == 3:
        return x, corrupt(x, draws[1], x if pool is None else pool)
    first, second = (image_view(x.flatten(0, 1), u.flatten(0, 1)) for u in draws)
    return first.view_as(x), second.view_as(x)


def corrupt(x: Tensor, u: Tensor, pool: Tensor, share: float = CORRUPTED_SHARE) -> Tensor:
    """Replaces floor(share F) features of rows `(K, n, F)`, at least one, by values of the pool.

    Each replaced feature takes the value of a random row: a draw from the empirical marginal
    distribution. The first F draws choose the features, the others the rows.

    Source: Bahri et al. 2022, SCARF (arXiv 2106.15147), algorithm 1.
    """
    features = x.shape[-1]
    replaced = max(1, int(share * features))
    rank = u[..., :features].argsort(dim=-1, stable=True).argsort(dim=-1)
    donors = pool.expand(len(x), -1, -1).gather(1, pick(u[..., features:], pool.shape[1]))
    return torch.where(rank < replaced, donors, x)


def image_view(x: Tensor, u: Tensor) -> Tensor:
    """SimCLR's view of `(M, C, H, W)`: resized crop, mirror, colour jitter, grey; no blur.

    The jitter (strength 0.5, probability 0.8) has a fixed order: brightness, contrast,
    saturation, hue. On grey images the last two and the greying (probability 0.2) do nothing.
    Draws, 11: area, shape, top, left, mirror, jitter or not, four strengths, grey or not.
    """
    x = resized_crop(x, u[:, :4])
    x = either(_chosen(u[:, 4], 0.5), x.flip(-1), x)
    x = either(_chosen(u[:, 5], 0.8), jitter(x, u[:, 6:10], JITTER), x)
    return x if x.shape[1] != 3 else either(_chosen(u[:, 10], 0.2), grey(x), x)


def _chosen(u: Tensor, chance: float) -> Tensor:
    return (u < chance).view(-1, 1, 1, 1)


def resized_crop(x: Tensor, u: Tensor) -> Tensor:
    """Stretches a rectangle of each image back to its size, bilinearly.

    The rectangle has 8 to 100 % of the area and 3/4 to 4/3 of the image's shape, in whole pixels,
    clipped to the image, and at least 4 pixels a side: smaller crops of an 8x8 digit show nothing.
    (torchvision draws again if a rectangle does not fit; here the number of draws is fixed.)
    """
    top, left, height, width = crop_box(x.shape[-2], x.shape[-1], u)
    lower, upper, share = _positions(top, height, x.shape[-2], x.dtype)
    x = _between(_rows(x, lower), _rows(x, upper), share[:, None, :, None])
    lower, upper, share = _positions(left, width, x.shape[-1], x.dtype)
    return _between(_columns(x, lower), _columns(x, upper), share[:, None, None])


def crop_box(height: int, width: int, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width in pixels of each crop, `(M,)` int64, from draws `(M, 4)`."""
    u = u.double()
    area = SMALLEST_AREA + (1.0 - SMALLEST_AREA) * u[:, 0]
    shape = ((2.0 * u[:, 1] - 1.0) * math.log(4 / 3)).exp()
    tall, wide = (area / shape).sqrt() * height, (area * shape).sqrt() * width
    rows = tall.round().clamp(min(FEWEST_PIXELS, height), height)
    columns = wide.round().clamp(min(FEWEST_PIXELS, width), width)
    top, left = u[:, 2] * (height - rows + 1), u[:, 3] * (width - columns + 1)
    return top.long(), left.long(), rows.long(), columns.long()


def _positions(
    start: Tensor, length: Tensor, pixels: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """The source of each result pixel: lower and upper pixel, and the upper's share."""
    centre = torch.arange(pixels, device=start.device, dtype=torch.float64) + 0.5
    last = (length - 1).unsqueeze(-1).double()
    inner = (centre * (length.double() / pixels).unsqueeze(-1) - 0.5).clamp(min=0.0)
    inner = torch.minimum(inner, last)
    lower = inner.floor()
    upper = torch.minimum(lower + 1, last)
    first = start.unsqueeze(-1)
    return first + lower.long(), first + upper.long(), (inner - lower).to(dtype)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """The rows of `(M, C, H, W)` at `index` `(M, H)`, a copy."""
    samples, channels, height, width = x.shape
    first = torch.arange(samples * channels, device=x.device).view(samples, channels, 1) * height
    # Whole rows are copied ten times as fast as single pixels.
    return x.reshape(-1, width).index_select(0, (first + index[:, None]).flatten()).view(x.shape)


def _columns(x: Tensor, index: Tensor) -> Tensor:
    """The columns of `(M, C, H, W)` at `index` `(M, W)`, a copy."""
    return x.gather(3, index[:, None, None].expand_as(x))


def _between(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    """Linear interpolation: low (1 - share) + high share; overwrites both."""
    return low.mul_(1.0 - share).add_(high.mul_(share))
