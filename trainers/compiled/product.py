"""Products of matrices whose sums have one order, whatever the number of members or threads.

Letters: K members, n rows, m columns, d the length of the sums.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.compiled.layout import computes
from trainers.compiled.library import MatrixOfLibrary, level_used, library, threads


def product(left: Tensor, right: Tensor) -> Tensor:
    """(K, n, d) times (K, d, m), with more leading dimensions if both have them.

    In passes of a compiled form the executor computes it, elsewhere PyTorch.
    """
    level = level_used()
    if level is None or not (computes(left) and computes(right)):
        return left @ right
    leading = left.shape[:-2]
    left, right = left.flatten(0, -3), right.flatten(0, -3)
    return _Product.apply(left, right, level).unflatten(0, leading)  # type: ignore[no-untyped-call]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, level: str) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.level = level
        return _computed(left, right, level)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        left, right = ctx.saved_tensors
        of_left = _computed(grad, right.mT, ctx.level) if ctx.needs_input_grad[0] else None
        of_right = _computed(left.mT, grad, ctx.level) if ctx.needs_input_grad[1] else None
        return of_left, of_right, None


def _computed(left: Tensor, right: Tensor, level: str) -> Tensor:
    members, n, d = left.shape
    out = torch.empty(members, n, right.shape[2])
    sides = [MatrixOfLibrary(one.data_ptr(), *one.stride()) for one in (left, right)]
    pointers = [ctypes.addressof(side) for side in sides]
    called = library(level).sweeper_product
    called(members, threads(), n, d, right.shape[2], *pointers, out.data_ptr())
    return out
