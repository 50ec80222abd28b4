"""The plain step: one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from trainers.steps import Problem

if TYPE_CHECKING:
    from trainers.feed import Batch
    from trainers.pack import Terms


class Plain:
    """The gradient of the mean loss."""

    def __init__(self) -> None:
        self.of_classes: Mapping[str, Tensor] = {}

    def gradient(self, problem: Problem, batch: Batch) -> tuple[Tensor, Terms]:
        terms = problem.terms(batch)
        return problem.gradient(terms.objective), terms
