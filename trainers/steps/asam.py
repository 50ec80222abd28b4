"""Adaptive SAM."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trainers.hyper import Hyper
from trainers.parameters import Parameters
from trainers.steps.sam import SAMStep

ETA = 0.01


class ASAM(SAMStep):
    """SAM whose radius is measured in the size of each weight.

    eps = rho T^2 g / |T g|, with T = |w| + 0.01 for weights and 1 for biases and norms. The
    asymmetry of SAM-A applies to g as it does there.

    Source: Kwon et al. 2021 (arXiv 2102.11600), equation 8, and its code for T of other parameters.
    """

    def __init__(self, parameters: Parameters, hyper: Hyper, counts: Sequence[int]) -> None:
        super().__init__(parameters, hyper, counts)
        self._size = parameters.data.new_ones(parameters.data.shape)

    def direction(self, parameters: Parameters, grad: Tensor) -> tuple[Tensor, Tensor]:
        weights = parameters.decaying
        self._size[:weights] = parameters.data[:weights].abs() + ETA
        scaled = grad.mul_(self._size)
        length = parameters.layout.norms(scaled)
        return scaled.mul_(self._size), length
