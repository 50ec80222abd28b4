"""BYOL: predicts a slowly moving target network's projection of the other view."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.hyper import Hyper
from trainers.models.projector import OUTPUTS, Projector
from trainers.parameters import Parameters
from trainers.ssl import SSLEncoder, TwoViews, Views
from trainers.state import Kept, State

TARGET = "target"


class BYOL(TwoViews):
    """2 - 2 cos(prediction, target projection), over both orders of the views.

    The target's parameters are a moving average of the network's, which keeps a share tau of
    itself: `byol.tau` at the start, 1 at the end, by half a cosine.

    Source: Grill et al. 2020 (arXiv 2006.07733), equations 1 and 2.
    """

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, width: int, inputs: tuple[int, ...]
    ) -> None:
        super().__init__(blueprint, train, width=width, inputs=inputs)
        self.predictor = Projector(blueprint, OUTPUTS, norm=train.norm, name="projector.predictor")

    def memory(self, parameters: Parameters) -> State:
        return {TARGET: Kept(parameters.data.clone(), parameters.layout)}

    def outputs(self, encoder: SSLEncoder, views: Views, memory: State) -> Views:
        """The predictions of each view, then the target's projections of each view."""
        predicted = [encoder(view, self.projector, self.predictor) for view in views]
        if TARGET not in memory:  # only layers are listed, see `shapes`
            return tuple(predicted)
        target = encoder.at(memory[TARGET].tensor)
        with torch.no_grad():
            held = [target(view, self.projector) for view in views]
        return (*predicted, *held)

    def loss(self, outputs: Views, views: Views, hyper: Hyper) -> Tensor:
        del views, hyper
        first, second, of_first, of_second = outputs
        return apart(first, of_second) + apart(second, of_first)

    def after_update(
        self, memory: State, parameters: Parameters, hyper: Hyper, progress: float
    ) -> None:
        start = hyper.first.parameters("byol").tau
        tau = 1.0 - (1.0 - start) * (math.cos(math.pi * progress) + 1.0) / 2.0
        memory[TARGET].tensor.lerp_(parameters.data, 1.0 - tau)


def apart(prediction: Tensor, target: Tensor) -> Tensor:
    """2 - 2 cos, the mean over the samples of (K, n, d): (K,)."""
    return 2.0 - 2.0 * F.cosine_similarity(prediction, target, dim=-1).mean(1)
