"""The plain step: one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from trainers.steps import Passes

if TYPE_CHECKING:
    from trainers.feed import Batch
    from trainers.pack import LossTerms


class Plain:
    """The gradient of the mean loss."""

    def __init__(self) -> None:
        self.of_classes: Mapping[str, Tensor] = {}

    def gradient(self, passes: Passes, batch: Batch) -> tuple[Tensor, LossTerms]:
        terms = passes.terms(batch)
        return passes.gradient(terms.objective), terms
