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
    """A program for a number of members and a batch size.

    Attributes:
        size: the numbers that a forward pass keeps, of all members.
        shapes: of the outputs, (K, B, F) or (B, H, W, K C).
        correction: n / (n - 1) for each norm's variance, n the numbers that it saw of a channel.
        arguments: of a pass, as far as they are always the same.
        strides: what `arguments` points to.
        free: numbers of earlier passes, whose memory is used again.
    """

    handle: int
    size: int
    shapes: list[tuple[int, ...]]
    layout: Layout
    correction: Tensor
    arguments: PassOfLibrary
    strides: tuple[Numbers, Numbers]
    free: list[Tensor] = field(default_factory=list)


class Tape:
    """The numbers that a forward pass keeps for its backward passes, until they are over."""

    def __init__(self, plan: Plan) -> None:
        self._free = plan.free
        self.numbers = plan.free.pop() if plan.free else torch.empty(plan.size)

    def __del__(self) -> None:
        self._free.append(self.numbers)


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
        self._plans: dict[tuple[int, int], Plan] = {}

    def forward(self, run: Pass, x: Tensor, tape: Tape | None = None) -> list[Tensor]:
        """The outputs (K, B, F) of a batch, (B, H, W, K C) or (K, B, F).

        Changes the running statistics or writes moments, if the pass asks for it.
        """
        plan = self.plan(run, x)
        given = self._arguments(plan, run, x)
        outputs = [torch.empty(shape) for shape in plan.shapes]
        pointers = _pointers(outputs)
        given.outputs = ctypes.addressof(pointers)
        numbers = self._normalising(plan, run)
        if numbers and run.training:
            given.batch_mean, given.batch_var = (one.data_ptr() for one in numbers)
        elif numbers:
            given.mean, given.var = (one.data_ptr() for one in numbers)
        kept = tape.numbers.data_ptr() if tape else None
        address = ctypes.addressof(given)
        self._library.sweeper_forward(plan.handle, address, kept, threads())
        if numbers and run.training:
            self._record(plan, run, *numbers)
        return [_in_form(output) for output in outputs]

    def tape(self, run: Pass, x: Tensor) -> Tape:
        """Memory for a forward pass that backward passes follow."""
        return Tape(self.plan(run, x))

    def backward(
        self, run: Pass, x: Tensor, tape: Tape, grads: Sequence[Tensor | None], *, input_too: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of the parameters (K P,) and, if asked, of the batch."""
        plan, flat = self.plan(run, x), _views(run).flat
        given = self._arguments(plan, run, x)
        whole = [
            _contiguous(grad) if grad is not None else None if inner else torch.zeros(shape)
            for grad, inner, shape in zip(grads, self._inner, plan.shapes, strict=True)
        ]
        pointers = _pointers(whole)
        given.grads = ctypes.addressof(pointers)
        gradient = torch.empty_like(flat) if self._whole else torch.zeros_like(flat)
        given.gradient = gradient.data_ptr()
        of_input = torch.empty_like(x) if input_too else None
        given.input_gradient = of_input.data_ptr() if of_input is not None else None
        kept, address = tape.numbers.data_ptr(), ctypes.addressof(given)
        self._library.sweeper_backward(plan.handle, address, kept, threads())
        return gradient, of_input

    def _arguments(self, plan: Plan, run: Pass, x: Tensor) -> PassOfLibrary:
        given = PassOfLibrary.from_buffer_copy(plan.arguments)
        given.training = run.training
        given.parameters, given.input = _views(run).flat.data_ptr(), x.data_ptr()
        return given

    def _normalising(self, plan: Plan, run: Pass) -> tuple[Tensor, Tensor] | None:
        """Mean and variance of the norms: those in use, or where those of the batch are written."""
        if not self._norms:
            return None
        if run.training:
            if run.moments is None and run.statistics is None:
                return None
            return torch.empty(plan.layout.total), torch.empty(plan.layout.total)
        found = run.statistics
        if isinstance(found, Statistics) and found.layout.sizes == self._norms:
            return found.mean, found.var
        assert found is not None  # noqa: S101
        mean, var = (torch.cat([found[name][i] for name in self._norms]) for i in (0, 1))
        return mean, var

    def _record(self, plan: Plan, run: Pass, mean: Tensor, var: Tensor) -> None:
        means, variances = plan.layout.cut(mean), plan.layout.cut(var)
        if run.moments is not None:
            run.moments.update({name: (means[name], variances[name]) for name in self._norms})
            return
        var *= plan.correction
        if isinstance(run.statistics, Statistics) and run.statistics.layout.sizes == self._norms:
            run.statistics.mean.lerp_(mean, MOMENTUM)
            run.statistics.var.lerp_(var, MOMENTUM)
            return
        assert run.statistics is not None  # noqa: S101
        for name in self._norms:
            running_mean, running_var = run.statistics[name]
            running_mean.lerp_(means[name], MOMENTUM)
            running_var.lerp_(variances[name], MOMENTUM)

    def plan(self, run: Pass, x: Tensor) -> Plan:
        """The plan for such a batch."""
        key = (run.members, x.shape[0] if x.dim() == 4 else x.shape[1])
        if key not in self._plans:
            self._plans[key] = self._planned(*key)
        return self._plans[key]

    def _planned(self, members: int, batch: int) -> Plan:
        sizes = [number for size in self.program.sizes for number in size]
        rows = [self._row(op) for op in self.program.ops]
        outputs = [value for value, _ in self.program.outputs]
        handle = self._library.sweeper_plan(
            _numbers(sizes),
            len(sizes) // 3,
            _numbers([number for row in rows for number in row]),
            len(rows),
            _numbers(outputs),
            len(outputs),
            batch,
        )
        shapes, strides = [], []
        for value, is_rows in self.program.outputs:
            h, w, c = self.program.sizes[value]
            shapes.append((members, batch, c) if is_rows else (batch, h, w, members * c))
            strides.append((batch * c, c) if is_rows else (c, members * c))
        layout = Layout(members, self._norms)
        plan = Plan(
            handle,
            members * self._library.sweeper_kept(handle),
            shapes,
            layout,
            self._correction(layout, batch),
            self._fixed(members, batch),
            (_numbers([one for one, _ in strides]), _numbers([one for _, one in strides])),
        )
        plan.arguments.output_member = ctypes.addressof(plan.strides[0])
        plan.arguments.output_row = ctypes.addressof(plan.strides[1])
        weakref.finalize(plan, self._library.sweeper_discard, handle)
        return plan

    def _fixed(self, members: int, batch: int) -> PassOfLibrary:
        """The arguments about the input; its rows are pixels, or samples of a table."""
        channels = self.program.sizes[0][2]
        images = self.program.images
        row = members * channels if images else channels
        member = channels if images else batch * channels
        return PassOfLibrary(members=members, input_member=member, input_row=row)

    def _correction(self, layout: Layout, batch: int) -> Tensor:
        made = torch.ones(layout.total)
        views = layout.cut(made)
        for norm, (h, w, _) in self.program.norms:
            if norm.name:
                number = batch * h * w
                views[norm.name].fill_(number / max(1, number - 1))
        return made

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
