"""Steps: how an update's gradient is made from a batch; a file for each.

Letters: K members, P parameters of one member, B samples of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from trainers.parameters import Parameters

if TYPE_CHECKING:
    from trainers.feed import Batch
    from trainers.pack import LossTerms, PackedNetworks, PackLoss


class Passes:
    """The passes of a step: a pack's objective on batches, and its gradient."""

    def __init__(self, pack: PackedNetworks, objective: PackLoss, *, moving: bool) -> None:
        self.pack, self._objective, self._moving = pack, objective, moving

    @property
    def parameters(self) -> Parameters:
        """The pack's parameters."""
        return self.pack.parameters

    def terms(self, batch: Batch, *, first: bool = True) -> LossTerms:
        """A forward pass of a batch.

        Only the `first` pass of an update may change running statistics.
        """
        moving = self._moving and first
        return self._objective.terms(self.pack, batch, moving=moving, first=first)

    def head_losses(self, features: Tensor, batch: Batch, views: Mapping[str, Tensor]) -> Tensor:
        """The supervised losses (K, B) of a batch's features, with other parameters, by name."""
        return self._objective.head_losses(self.pack, features, batch, views)

    def gradient(self, objective: Tensor, *, again: bool = False) -> Tensor:
        """The gradient (K P,) of losses (K,); members are independent, so one backward suffices.

        Args:
            objective: from `terms`.
            again: whether another gradient of the same terms follows.
        """
        # Of their sum: PyTorch checks gradients that it is given, and imports sympy for that.
        return torch.autograd.grad(objective.sum(), self.parameters.flat, retain_graph=again)[0]


class Step(Protocol):
    """How the gradient of an update is made.

    Attributes:
        of_classes: name -> (K, C), numbers of each class that a step needs for each sample; a batch
            has them in `Batch.of_samples`, mixed where samples are mixed.
    """

    of_classes: Mapping[str, Tensor]

    def gradient(self, passes: Passes, batch: Batch) -> tuple[Tensor, LossTerms]:
        """The gradient (K P,), and the terms of the first pass, at the parameters themselves."""
        ...
