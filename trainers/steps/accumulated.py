"""Gradient accumulation: an update's gradient from parts of its batch."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainers.feed import Feed
from trainers.steps import Passes, Step

if TYPE_CHECKING:
    from trainers.feed import Batch
    from trainers.pack import LossTerms


class Accumulated:
    """The mean of another step's gradients of equal parts of the batch.

    Each part is normalised by itself. A smaller batch, at the end of an epoch, is cut into fewer
    parts, so that no part is smaller than those of a whole batch. With SAM each part has its own
    ascent (m-SAM, Foret et al. 2021, section 4.1).
    """

    def __init__(self, inner: Step, parts: int, *, batch_size: int) -> None:
        self.inner, self.of_classes = inner, inner.of_classes
        self._parts, self._batch_size = parts, batch_size

    def gradient(self, passes: Passes, batch: Batch) -> tuple[Tensor, LossTerms]:
        size = batch.labels.shape[1]
        found: list[LossTerms] = []
        total: Tensor | None = None
        for share, part in parts_of(batch, max(1, size * self._parts // self._batch_size)):
            grad, terms = self.inner.gradient(passes, part)
            found.append(terms)
            total = grad * share if total is None else total.add_(grad, alpha=share)
        assert total is not None  # noqa: S101
        ssl = [t.ssl for t in found if t.ssl is not None]
        return total, replace(
            found[0],
            features=torch.cat([t.features for t in found], dim=1),
            logits=torch.cat([t.logits for t in found], dim=1),
            losses=torch.cat([t.losses for t in found], dim=1),
            ssl=torch.stack(ssl).mean(0) if ssl else None,
        )


def parts_of(batch: Batch, number: int) -> list[tuple[float, Batch]]:
    """Cuts a batch into parts of almost equal size, each with its share of the samples."""
    size = batch.labels.shape[1]
    ends = [size * i // number for i in range(number + 1)]
    parts = [slice(a, b) for a, b in pairwise(ends)]

    def of_view(view: Tensor, position: int) -> Tensor:
        samples = view.shape[0] if view.dim() == 4 else view.shape[1]
        own = slice(samples * position // number, samples * (position + 1) // number)
        return Feed.cut(view, own)

    return [
        (
            (part.stop - part.start) / size,
            replace(
                batch,
                x=Feed.cut(batch.x, part),
                targets=batch.targets[:, part],
                labels=batch.labels[:, part],
                of_samples={name: one[:, part] for name, one in batch.of_samples.items()},
                views=tuple(of_view(v, i) for v in batch.views) if batch.views else None,
                keys=None if batch.keys is None else batch.keys[:, part],
            ),
        )
        for i, part in enumerate(parts)
    ]
