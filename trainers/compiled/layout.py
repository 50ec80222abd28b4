"""Norms, factors and updates of members in a flat tensor, by the executor.

Letters: K members, P parameters of one member.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from trainers.compiled.library import FlatOfLibrary, library, threads
from trainers.layout import Layout


class CompiledLayout(Layout):
    """A layout whose sums have one order, whatever the number of members or threads.

    Other numbers than float32 on a CPU are computed by PyTorch.
    """

    def __init__(self, members: int, sizes: Mapping[str, int], *, level: str) -> None:
        super().__init__(members, sizes)
        self._library = library(level)
        numbers = [
            n
            for place, size in zip(self.places.values(), sizes.values(), strict=True)
            for n in (place, size)
        ]
        self._blocks = (ctypes.c_int64 * len(numbers))(*numbers)

    def norms(self, flat: Tensor) -> Tensor:
        if not (computes(flat) and flat.is_contiguous()):
            return super().norms(flat)
        found = torch.empty(self.members)
        self._call("norms", flat.data_ptr(), found.data_ptr())
        return found

    def add_scaled_(self, to: Tensor, flat: Tensor, factors: Tensor) -> Tensor:
        whole = all(computes(x) and x.is_contiguous() for x in (to, flat))
        if not (whole and factors.numel() == self.members):
            return super().add_scaled_(to, flat, factors)
        factors = factors.to(torch.float32).contiguous()
        self._call("add_scaled", to.data_ptr(), flat.data_ptr(), factors.data_ptr())
        torch.autograd.graph.increment_version(to)
        return to

    def sgd(
        self,
        data: Tensor,
        grad: Tensor,
        velocity: Tensor,
        numbers: Sequence[Sequence[float]],
        *,
        decaying: int,
        nesterov: bool,
    ) -> None:
        """An update of SGD with momentum.

        Args:
            numbers: rate, momentum and weight decay of each member.
            decaying: the first blocks, which decay.
        """
        given = np.array(numbers, dtype=np.float32)
        pointers = [t.data_ptr() for t in (data, grad, velocity)]
        self._call("sgd", *pointers, given.ctypes.data, decaying, int(nesterov))
        torch.autograd.graph.increment_version(data)

    def adamw(
        self,
        data: Tensor,
        grad: Tensor,
        moments: tuple[Tensor, Tensor],
        numbers: Sequence[Sequence[float]],
        *,
        decaying: int,
    ) -> None:
        """An update of AdamW; `numbers` as in `Adam` of flat.hpp, for each member."""
        given = np.array(numbers, dtype=np.float32)
        pointers = [t.data_ptr() for t in (data, grad, *moments)]
        self._call("adamw", *pointers, given.ctypes.data, decaying)
        torch.autograd.graph.increment_version(data)

    def _call(self, name: str, *arguments: int) -> None:
        flat = FlatOfLibrary(
            self.members, threads(), len(self.sizes), ctypes.addressof(self._blocks)
        )
        getattr(self._library, f"sweeper_{name}")(ctypes.addressof(flat), *arguments)


def computes(x: Tensor) -> bool:
    """Whether the executor computes with such numbers."""
    return x.dtype == torch.float32 and x.device.type == "cpu"
