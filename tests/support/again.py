"""A recorder for processors: it does the work again, at the addresses of the first time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from trainers.fused import Folded
from trainers.recording import StepRecorder

# What brings numbers to the host, for which a GPU has to be waited for: PyTorch's operations, and
# methods of tensors that are none.
OPERATIONS = {"_local_scalar_dense", "is_nonzero", "nonzero", "unique", "masked_select", "equal"}
METHODS = {"tolist", "item", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__"}


class Waits(RuntimeError):
    """The work waits for a number, which a graph cannot."""


class NoOperations(TorchDispatchMode):
    """Refuses operations that wait."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in OPERATIONS:
            raise Waits(str(func))
        return func(*args, **(kwargs or {}))


class NoMethods(TorchFunctionMode):
    """Refuses methods that wait."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in METHODS:
            raise Waits(func.__name__)
        return func(*args, **(kwargs or {}))


class Again:
    """As a graph of CUDA: it runs the work before, refuses what waits, and keeps addresses."""

    made: ClassVar[list[Again]] = []

    def __init__(self) -> None:
        self.replays = 0
        Again.made.append(self)

    def record(self, work: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        with NoOperations(), NoMethods():
            work()
        self._work, self._results = work, work()
        return self._results

    def replay(self) -> None:
        self.replays += 1
        for kept, new in zip(self._results, self._work(), strict=True):
            kept.copy_(new.detach())


class FoldedAgain(Folded):
    """Computes as `Folded` does, recorded by `Again`."""

    @property
    def recorder(self) -> Callable[[], StepRecorder]:
        return Again
