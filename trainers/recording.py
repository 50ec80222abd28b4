"""Records how the gradient of an update is computed, and repeats it at the same addresses.

A step of a small network is a hundred short kernels, and starting them takes a GPU longer than
running them. A CUDA graph starts all of them at once. It needs fixed addresses, no decision that
depends on numbers of the device, and no number of the host that changes from step to step. So a
batch is copied to where the first one of its shape lay, and what changes during a run is either a
tensor (the share of the updates made) or part of what a recording is kept for. What cannot be
recorded is computed anew in each step. The optimizer's few operations on flat tensors stay outside,
with their rates as numbers of the host.

Letters: K members, P parameters of one member.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from trainers.feed import Batch
    from trainers.pack import LossTerms, PackedNetworks, PackLoss

Gradient = Callable[["Batch"], tuple[Tensor, "LossTerms"]]
WARM_UPS = 3  # before a capture, so that libraries choose their kernels and take their memory


class StepRecorder(Protocol):
    """Does a piece of work again and again, reading and writing the same addresses."""

    def record(self, work: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Prepares work, which may run several times; returns the tensors of its results."""
        ...

    def replay(self) -> None:
        """Does the work; the results of `record` have its numbers."""
        ...


class CudaGraph:
    """A graph of CUDA."""

    def record(self, work: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        self._graph = torch.cuda.CUDAGraph()
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(beside)
        with torch.cuda.graph(self._graph):
            return work()

    def replay(self) -> None:
        self._graph.replay()


@dataclass(frozen=True)
class RecordedStep:
    """A recorded gradient.

    Attributes:
        batch: what it reads.
        gradient, terms: what it writes.
    """

    recorder: StepRecorder
    batch: Batch
    gradient: Tensor
    terms: LossTerms


class RecordedGradient:
    """The gradient of a step, recorded once for each shape of a batch.

    Args:
        compute: the gradient (K P,) and the terms of a batch; it decides nothing by numbers.
        changes: what `compute` changes beside its results, such as running statistics.
    """

    def __init__(
        self, compute: Gradient, recorder: Callable[[], StepRecorder], *, changes: Sequence[Tensor]
    ) -> None:
        self._compute, self._recorder, self._changes = compute, recorder, tuple(changes)
        self._recordings: dict[Hashable, RecordedStep | None] = {}

    def __call__(self, batch: Batch, *, kind: Hashable) -> tuple[Tensor, LossTerms]:
        """The gradient, until the next call, and the terms of a batch.

        Args:
            kind: decisions of the host on which the computation depends.
        """
        given = tensors_of(batch)
        key = (kind, tuple((x.shape, x.stride()) for x in given))
        if key not in self._recordings:
            self._recordings[key] = self._record(batch)
        found = self._recordings[key]
        if found is None:
            return self._compute(batch)
        for kept, new in zip(tensors_of(found.batch), given, strict=True):
            kept.copy_(new)
        found.recorder.replay()
        return found.gradient, mapped(found.terms, Tensor.clone)

    def _record(self, batch: Batch) -> RecordedStep | None:
        """A recording; None if the computation waits for a number, as one by classes does."""
        own = mapped(batch, Tensor.clone)
        before = [x.clone() for x in self._changes]
        terms: list[LossTerms] = []

        def work() -> tuple[Tensor, ...]:
            gradient, found = self._compute(own)
            terms[:] = [mapped(found, Tensor.detach)]
            return gradient, *tensors_of(terms[0])

        recorder = self._recorder()
        try:
            gradient, *rest = recorder.record(work)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return None
        finally:
            for changed, x in zip(self._changes, before, strict=True):
                changed.copy_(x)
        results = iter(rest)
        return RecordedStep(recorder, own, gradient, mapped(terms[0], lambda _: next(results)))


def recorded(
    compute: Gradient,
    recorder: Callable[[], StepRecorder] | None,
    pack: PackedNetworks,
    objective: PackLoss,
) -> RecordedGradient | None:
    """What records a pack's gradients; None if its form has no recorder."""
    if recorder is None:
        return None
    objective.keep_progress()
    changed = {**pack.statistics_state, **objective.memory}
    return RecordedGradient(compute, recorder, changes=[kept.tensor for kept in changed.values()])


def mapped(record: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A dataclass with its tensors changed, also those in its tuples and dictionaries."""

    def of(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, tuple):
            return tuple(map(of, value))
        return {name: of(one) for name, one in value.items()} if isinstance(value, dict) else value

    return replace(record, **{one.name: of(getattr(record, one.name)) for one in fields(record)})


def tensors_of(record: Any) -> list[Tensor]:
    """The tensors of a dataclass, in the order of `mapped`."""
    found: list[Tensor] = []
    mapped(record, lambda x: found.append(x) or x)
    return found
