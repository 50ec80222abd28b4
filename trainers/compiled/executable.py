"""Programs of the executor: their arguments, their memory, and their running statistics.

Letters: K members, B samples of a batch, C channels, F features, P parameters of one member.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainers.compiled.library import PassOfLibrary, library, threads
from trainers.compiled.tracing import (
    Combination,
    ConvolutionFacts,
    NormFacts,
    Op,
    Program,
    ShortcutFacts,
)
from trainers.fused import MOMENTUM, Pass
from trainers.layout import Layout
from trainers.parameters import Statistics, Views

ROW = 32  # numbers of an operation, as in program.hpp
CONVOLUTION, COMBINATION, SHORTCUT, MEAN, ENTRANCE = range(5)
BATCH_NORM, GROUP_NORM, NO_NORM = 0, 1, -1
Numbers = ctypes.Array[ctypes.c_int64]


@dataclass
class Plan:
    """A program at one batch size.

    Attributes:
        size: the numbers of a member that a forward pass keeps.
        free: numbers of earlier passes, whose memory is used again.
    """

    handle: int
    size: int
    free: list[Tensor] = field(default_factory=list)


class Tape:
    """The numbers that a forward pass keeps for its backward passes, until they are over."""

    def __init__(self, plan: Plan, members: int) -> None:
        self._plan, size = plan, members * plan.size
        while plan.free and plan.free[-1].numel() != size:
            plan.free.pop()
        self.numbers = plan.free.pop() if plan.free else torch.empty(size)

    def __del__(self) -> None:
        self._plan.free.append(self.numbers)


class Executable:
    """A program whose parameters lie in a flat tensor, block after block of these sizes."""

    def __init__(self, program: Program, sizes: Mapping[str, int], *, level: str) -> None:
        self.program, self._library = program, library(level)
        self._places = Layout(1, sizes).places
        self._norms = {norm.name: norm.weight.size for norm, _ in program.norms if norm.name}
        self._statistics = Layout(1, self._norms).places
        self._whole = {p.name for p in program.parameters} == set(sizes)
        read = {v for op in program.ops for v in _reads(op)}
        self._inner = [value in read for value, _ in program.outputs]
        self._plans: dict[int, Plan] = {}
        self._output_strides: dict[tuple[int, int], tuple[Numbers, Numbers]] = {}
        self._corrections: dict[tuple[int, int], Tensor] = {}

    def forward(self, run: Pass, x: Tensor, kept: Tape | None = None) -> list[Tensor]:
        """The outputs (K, B, F) of a batch, (B, H, W, K C) or (K, B, F).

        Changes the running statistics or writes moments, if the pass asks for it.
        """
        given = self._pass(run, x)
        outputs = [torch.empty(shape) for shape in self._shapes(run, x)]
        pointers = _pointers(outputs)
        given.outputs = ctypes.addressof(pointers)
        found = self._observed(run, given)
        self._call("forward", self._plan(x), given, kept)
        if found is not None:
            self._record(run, _batch(x), *found)
        return [_in_form(output) for output in outputs]

    def _shapes(self, run: Pass, x: Tensor) -> list[tuple[int, ...]]:
        """The shape of each output, (K, B, F) or (B, H, W, K C)."""
        batch, found = _batch(x), []
        for value, rows in self.program.outputs:
            h, w, c = self.program.sizes[value]
            found.append((run.members, batch, c) if rows else (batch, h, w, run.members * c))
        return found

    def kept(self, run: Pass, x: Tensor) -> Tape:
        """Memory for a forward pass that backward passes follow."""
        return Tape(self._plan(x), run.members)

    def backward(
        self, run: Pass, x: Tensor, kept: Tape, grads: Sequence[Tensor | None], *, input_too: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of the parameters (K P,) and, if asked, of the batch."""
        flat = _views(run).flat
        given = self._pass(run, x)
        whole = [
            _contiguous(grad) if grad is not None else None if inner else torch.zeros(shape)
            for grad, inner, shape in zip(grads, self._inner, self._shapes(run, x), strict=True)
        ]
        pointers = _pointers(whole)
        given.grads = ctypes.addressof(pointers)
        gradient = torch.empty_like(flat) if self._whole else torch.zeros_like(flat)
        given.gradient = gradient.data_ptr()
        of_input = torch.empty_like(x) if input_too else None
        given.input_gradient = of_input.data_ptr() if of_input is not None else None
        self._call("backward", self._plan(x), given, kept)
        return gradient, of_input

    def _call(self, name: str, plan: Plan, given: PassOfLibrary, kept: Tape | None) -> None:
        numbers = kept.numbers.data_ptr() if kept else None
        function = getattr(self._library, f"sweeper_{name}")
        function(plan.handle, ctypes.addressof(given), numbers, threads())

    def _pass(self, run: Pass, x: Tensor) -> PassOfLibrary:
        features = x.shape[-1] // run.members if x.dim() == 4 else x.shape[-1]
        member = features if x.dim() == 4 else x[0].numel()
        given = PassOfLibrary(members=run.members, training=run.training)
        given.parameters, given.input = _views(run).flat.data_ptr(), x.data_ptr()
        given.input_member, given.input_row = member, x.shape[-1]
        members, rows = self._strides(run.members, _batch(x))
        given.output_member, given.output_row = ctypes.addressof(members), ctypes.addressof(rows)
        if not run.training and self._norms:
            given.mean, given.var = (one.data_ptr() for one in self._current(run))
        return given

    def _strides(self, members: int, batch: int) -> tuple[Numbers, Numbers]:
        """The numbers between members, and between rows of pixels, of each output."""
        key = (members, batch)
        if key not in self._output_strides:
            found = []
            for value, rows in self.program.outputs:
                c = self.program.sizes[value][2]
                found.append((batch * c, c) if rows else (c, members * c))
            self._output_strides[key] = (
                _numbers([one for one, _ in found]),
                _numbers([one for _, one in found]),
            )
        return self._output_strides[key]

    def _current(self, run: Pass) -> tuple[Tensor, Tensor]:
        """Mean and variance of the norms that the program has, in its order."""
        found = run.statistics
        if isinstance(found, Statistics) and found.layout.sizes == self._norms:
            return found.mean, found.var
        assert found is not None  # noqa: S101
        mean, var = (torch.cat([found[name][i] for name in self._norms]) for i in (0, 1))
        return mean, var

    def _observed(self, run: Pass, given: PassOfLibrary) -> tuple[Tensor, Tensor] | None:
        """Where the executor writes the mean and the variance of each norm's input, if asked."""
        if not self._norms or not run.training or not (run.statistics or run.moments is not None):
            return None
        total = run.members * sum(self._norms.values())
        mean, var = torch.empty(total), torch.empty(total)
        given.batch_mean, given.batch_var = mean.data_ptr(), var.data_ptr()
        return mean, var

    def _record(self, run: Pass, batch: int, mean: Tensor, var: Tensor) -> None:
        layout = Layout(run.members, self._norms)
        if run.moments is not None:
            means, variances = layout.cut(mean), layout.cut(var)
            run.moments.update({name: (means[name], variances[name]) for name in self._norms})
            return
        var *= self._correction(layout, batch)
        if isinstance(run.statistics, Statistics) and run.statistics.layout.sizes == self._norms:
            run.statistics.mean.lerp_(mean, MOMENTUM)
            run.statistics.var.lerp_(var, MOMENTUM)
            return
        means, variances = layout.cut(mean), layout.cut(var)
        for name in self._norms:
            running_mean, running_var = run.statistics[name]  # type: ignore[index]
            running_mean.lerp_(means[name], MOMENTUM)
            running_var.lerp_(variances[name], MOMENTUM)

    def _correction(self, layout: Layout, batch: int) -> Tensor:
        """n / (n - 1) for each norm's variance, n the numbers that it saw of a channel."""
        key = (layout.members, batch)
        if key not in self._corrections:
            made = torch.ones(layout.total)
            views = layout.cut(made)
            for norm, (h, w, _) in self.program.norms:
                if norm.name:
                    number = batch * h * w
                    views[norm.name].fill_(number / max(1, number - 1))
            self._corrections[key] = made
        return self._corrections[key]

    def _plan(self, x: Tensor) -> Plan:
        batch = _batch(x)
        if batch not in self._plans:
            self._plans[batch] = self._planned(batch)
        return self._plans[batch]

    def _planned(self, batch: int) -> Plan:
        sizes = [number for size in self.program.sizes for number in size]
        rows = [self._row(op) for op in self.program.ops]
        called, outputs = self._library, [value for value, _ in self.program.outputs]
        handle = called.sweeper_plan(
            _numbers(sizes),
            len(sizes) // 3,
            _numbers([number for row in rows for number in row]),
            len(rows),
            _numbers(outputs),
            len(outputs),
            batch,
        )
        plan = Plan(handle, called.sweeper_kept(handle))
        weakref.finalize(plan, called.sweeper_discard, handle)
        return plan

    def _row(self, op: Op) -> list[int]:
        """An operation's numbers, in the order of `op_of` in program.hpp."""
        does = op.does
        if isinstance(does, str):
            row = [MEAN if does == "mean" else ENTRANCE, op.reads, op.makes]
        elif isinstance(does, ShortcutFacts):
            row = [SHORTCUT, op.reads, op.makes, does.stride, does.before]
        elif isinstance(does, ConvolutionFacts):
            row = [CONVOLUTION, op.reads, op.makes, *self._convolution(does)]
        else:
            (value, norm), (other, other_norm) = (*does.parts, (-1, None))[:2]
            row = [COMBINATION, value, op.makes, int(does.relu), other]
            row += self._norm(norm) + self._norm(other_norm)
        return row + [0] * (ROW - len(row))

    def _convolution(self, does: ConvolutionFacts) -> list[int]:
        weight, bias = does.weight, does.bias
        linear = weight.kind == "linear"
        kernel, inputs, outputs = 1, weight.shape[0], weight.shape[-1]
        if not linear:
            outputs, kernel, _, inputs = weight.shape
        place = (self._places[bias.name], bias.size) if bias else (-1, 0)
        first = (self._places[weight.name], weight.size, *place)
        return [*first, kernel, does.stride, inputs, outputs, int(linear)]

    def _norm(self, norm: NormFacts | None) -> list[int]:
        if norm is None:
            return [NO_NORM, 0, 0, -1, -1, -1]
        weight, bias = self._places[norm.weight.name], self._places[norm.bias.name]
        kind = GROUP_NORM if norm.groups else BATCH_NORM
        statistics = self._statistics[norm.name] if norm.name else -1
        return [kind, norm.weight.size, norm.groups, weight, bias, statistics]


def _reads(op: Op) -> list[int]:
    return [v for v, _ in op.does.parts] if isinstance(op.does, Combination) else [op.reads]


def _batch(x: Tensor) -> int:
    return x.shape[0] if x.dim() == 4 else x.shape[1]


def _views(run: Pass) -> Views:
    assert isinstance(run.views, Views)  # noqa: S101
    return run.views


def _numbers(values: Sequence[int]) -> Numbers:
    return (ctypes.c_int64 * len(values))(*values)


def _pointers(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    """The addresses of tensors, which the caller keeps alive."""
    found = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    return (ctypes.c_void_p * len(found))(*found)


def _contiguous(x: Tensor) -> Tensor:
    """(K, B, F), or images in the form's layout as (B, H, W, K C)."""
    return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).contiguous()


def _in_form(x: Tensor) -> Tensor:
    """The reverse of `_contiguous`."""
    return x.permute(0, 3, 1, 2) if x.dim() == 4 else x
