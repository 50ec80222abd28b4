"""Masks of dropout and stochastic depth, equal wherever and with whomever a run is computed.

Each appearance of a sample in an epoch has two numbers from the run's stream `masks`: its keys. A
mask is a hash of the keys, the layer's name and the unit's place in the layer. So masks belong to
samples, as augmentations do: batch size, width, pack and device leave them as they are, both passes
of SAM see the same ones, and a unit that a rate drops is dropped by each higher rate too.

Letters: K members, B samples of a batch, U units of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import torch
from torch import Tensor

from trainers.hyper import Hyper

KEYS = 2  # numbers of a sample
KEY_BITS = 24  # the bits of a uniform float32
BITS = 32
LOW = (1 << BITS) - 1
GOLDEN = 0x9E3779B9
# Wellons' lowbias32. The second factor less 2^32, so that no product leaves the range of int64.
FIRST, SECOND = 0x7FEB352D, 0x846CA68B - (1 << BITS)


@dataclass(frozen=True)
class DropRates:
    """The rates of a pack's members, (K,); None where the lever is off."""

    dropout: Tensor | None
    depth: Tensor | None

    @classmethod
    def of(cls, hyper: Hyper) -> DropRates:
        """The rates that configurations ask for."""
        dropout, depth = (
            hyper.tensor(key) if hyper.any(key) else None for key in ("dropout", "stochastic_depth")
        )
        return cls(dropout, depth)

    @property
    def any(self) -> bool:
        """Whether batches need keys."""
        return self.dropout is not None or self.depth is not None


class Masks:
    """The masks of one batch.

    Args:
        draws: the samples' numbers of the stream, (K, B, 2) in [0, 1).
    """

    def __init__(self, draws: Tensor, rates: DropRates) -> None:
        self._draws, self._rates = draws, rates

    def dropped(self, name: str, x: Tensor) -> Tensor:
        """Dropout of x, (K, B, ...): units are 0 at the rate of their member, others scaled up."""
        rate = self._rates.dropout
        if rate is None:
            return x
        units = x[0, 0].numel()
        return x * self._factors(name, rate, units).view(x.shape).to(x.dtype)

    def branch(self, name: str, share: float) -> Tensor | None:
        """Stochastic depth: 0, or a number above 1, for each sample's branch, (K, B).

        Args:
            name: the block's name.
            share: of the rate, which grows linearly over the blocks.
        """
        rate = self._rates.depth
        return None if rate is None else self._factors(name, rate * share, 1)[..., 0]

    def _factors(self, name: str, rate: Tensor, units: int) -> Tensor:
        """1 / (1 - rate) where a unit is kept, else 0: (K, B, U)."""
        dropped = (rate.double() * (1 << BITS)).long().view(-1, 1, 1)
        kept = self._numbers(name, units) >= dropped
        return kept.to(rate) / (1.0 - rate).view(-1, 1, 1)

    def _numbers(self, name: str, units: int) -> Tensor:
        """Uniform whole numbers below 2^32, a number for each unit: (K, B, U)."""
        first, second = self._keys.unbind(-1)
        own = mixed(mixed(first ^ crc32(name.encode())) + second & LOW)
        steps = torch.arange(units, device=own.device).mul_(GOLDEN)
        return mixed(own[..., None] + steps & LOW)

    @property
    def seeds(self) -> list[int]:
        """A seed for each member: the keys of its first sample in one number."""
        first, second = self._keys[:, 0].unbind(-1)
        return (first * (1 << KEY_BITS) + second).tolist()

    @cached_property
    def _keys(self) -> Tensor:
        return (self._draws * (1 << KEY_BITS)).long()


def mixed(x: Tensor) -> Tensor:
    """A one-to-one map of the whole numbers below 2^32 that looks random."""
    x = x ^ (x >> 16)
    x = x * FIRST & LOW
    x = x ^ (x >> 15)
    x = x * SECOND & LOW
    return x ^ (x >> 16)
