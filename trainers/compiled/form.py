"""The compiled forms: a forward pass of all members is one call of the executor, as is a backward.

What the executor computes at one level of instructions is the same bits alone, in any pack and with
any number of threads. What it cannot compute is computed as in the form `folded`.

Letters: K members, B samples of a batch, C channels, F features, P parameters of one member.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.compiled.executable import Executable
from trainers.compiled.layout import CompiledLayout, computes
from trainers.compiled.library import used
from trainers.compiled.tracing import program, traced
from trainers.fused import Folded, Part, Pass
from trainers.layout import Layout
from trainers.parameters import Views

# Samples of a pass that keeps nothing, and whose samples do not depend on each other.
MOST_SAMPLES = 128


class Compiled(Folded):
    """Computes what it can of a network in one call, at a level of instructions."""

    def __init__(self, level: str) -> None:
        self._level = level

    def layout(self, members: int, sizes: Mapping[str, int]) -> Layout:
        return CompiledLayout(members, sizes, level=self._level)

    def chain(self, parts: Sequence[Part], run: Pass, x: Tensor) -> list[Tensor]:
        executable = self._executable(parts, run, x)
        results = _computed(executable, run, x) if executable else []
        rest = parts[len(results) :]
        return results + super().chain(rest, run, results[-1] if results else x)

    @contextmanager
    def backend(self, x: Tensor, members: int) -> Iterator[None]:
        with super().backend(x, members), used(self._level):
            yield

    def _executable(self, parts: Sequence[Part], run: Pass, x: Tensor) -> Executable | None:
        """The program of the first parts; None: there is none, or numbers are not float32."""
        views = run.views
        if not isinstance(views, Views) or not (computes(x) and computes(views.flat)):
            return None
        if torch.is_autocast_enabled("cpu"):
            return None
        rows = x.dim() == 3
        h, w = (1, 1) if rows else x.shape[2:]
        size = (h, w, x.shape[2] if rows else x.shape[1] // run.members)
        key = (*parts, size, run.masks is None)
        if key not in run.programs:
            nodes, results = traced(parts, run, views.specs, size, rows=rows)
            made, sizes = program(nodes, results), views.layout.sizes
            run.programs[key] = Executable(made, sizes, level=self._level) if results else None
        return run.programs[key]


def _computed(executable: Executable, run: Pass, x: Tensor) -> list[Tensor]:
    """The results (K, B, F) of a batch in the layout of the form."""
    images = x.dim() == 4
    x = x.permute(0, 2, 3, 1).contiguous() if images else x.contiguous()
    flat = run.views.flat  # type: ignore[attr-defined]
    if torch.is_grad_enabled() and (flat.requires_grad or x.requires_grad):
        return list(_Passes.apply(flat, x, executable, run))  # type: ignore[no-untyped-call]
    if run.training or not images or len(x) <= MOST_SAMPLES:
        return executable.forward(run, x)
    pieces = [executable.forward(run, piece) for piece in x.split(MOST_SAMPLES)]
    return [
        torch.cat(results, dim=1 if results[0].dim() == 3 else 0)
        for results in zip(*pieces, strict=True)
    ]


class _Passes(torch.autograd.Function):
    """A forward pass, and the backward passes that may follow."""

    @staticmethod
    def forward(
        ctx: Any, flat: Tensor, x: Tensor, executable: Executable, run: Pass
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.executable, ctx.run, ctx.x = executable, run, x
        ctx.tape = executable.tape(run, x)
        ctx.version = run.views.data._version  # type: ignore[attr-defined]
        return tuple(executable.forward(run, x, ctx.tape))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if ctx.run.views.data._version != ctx.version:
            raise RuntimeError("the parameters changed between a forward and its backward pass")
        flat, x = ctx.executable.backward(
            ctx.run, ctx.x, ctx.tape, grads, input_too=ctx.needs_input_grad[1]
        )
        return flat if ctx.needs_input_grad[0] else None, x, None, None
