"""Joint self-supervision: views of a batch, heads, and a loss; a file for each objective.

Letters of the shapes: K members, n samples, d dimensions of the projection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.fused import Part, Pass
from trainers.hyper import Hyper
from trainers.models import Network
from trainers.models.projector import Projector
from trainers.parameters import Parameters
from trainers.ssl.views import ssl_views, view_width
from trainers.state import State

Views = tuple[Tensor, ...]


@dataclass(frozen=True)
class SSLEncoder:
    """A pack's network in training mode, which leaves the running statistics unchanged.

    Attributes:
        views_of: the views of other parameters (K P,), such as a target network's.
    """

    network: Network
    run: Pass
    views_of: Callable[[Tensor], Mapping[str, Tensor]]

    def __call__(self, x: Tensor, *heads: Part) -> Tensor:
        """The features of a batch, (K, n, width), or what heads make of them, one after another."""
        return self.run.form.chain((self.network.features, *heads), self.run, x)[-1]

    def at(self, flat: Tensor) -> SSLEncoder:
        """The same network with other parameters (K P,)."""
        return replace(self, run=replace(self.run, views=self.views_of(flat)))


@dataclass(frozen=True)
class Entrance:
    """Makes a network's input of raw samples.

    Attributes:
        normalised: encodes and normalises raw samples, (K, n, ...).
        converted: converts them to the form's layout.
    """

    normalised: Callable[[Tensor], Tensor]
    converted: Callable[[Tensor], Tensor]

    def __call__(self, raw: Tensor) -> Tensor:
        return self.converted(self.normalised(raw))


class SSLObjective(Protocol):
    """A self-supervised objective, an entry of kind `ssl`. It declares its heads when it is made.

    One object serves every pack of the same design, so what changes in training is in `memory`.
    """

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, width: int, inputs: tuple[int, ...]
    ) -> None:
        """Args: width: the network's features; inputs: the shape of an encoded sample."""
        ...

    def draws(self, shape: tuple[int, ...]) -> int:
        """The uniform numbers of one view of one sample, from its raw shape (C, H, W) or (F,)."""
        ...

    def views(
        self,
        x: Tensor,
        draws: tuple[Tensor, Tensor],
        *,
        rows: Tensor | None,
        entrance: Entrance,
    ) -> Views:
        """What `outputs` needs of a batch, each with the samples in the form's layout.

        Args:
            x: raw samples, images (K, n, C, H, W) in 0..1 or rows (K, n, F) with codes.
            draws: of the first and the second view, (K, n, draws).
            rows: tables: the raw rows of the training subset, (K, N, F).
            entrance: makes a network's input of raw samples.
        """
        ...

    def memory(self, parameters: Parameters) -> State:
        """What the objective keeps beside the parameters, at the start of a run."""
        ...

    def outputs(self, encoder: SSLEncoder, views: Views, memory: State) -> Views:
        """What the loss compares; runs in the pack's precision."""
        ...

    def loss(self, outputs: Views, views: Views, hyper: Hyper) -> Tensor:
        """The loss of each member, (K,)."""
        ...

    def remember(self, memory: State, outputs: Views) -> None:
        """Keeps what later updates need of `outputs`; comes after the update, before the next.

        It comes once for each part of a batch, with the outputs of the part's first pass.
        """
        ...

    def after_update(
        self, memory: State, parameters: Parameters, hyper: Hyper, progress: float
    ) -> None:
        """Changes the memory after an update; `progress` is the share of the updates made."""
        ...


class TwoViews:
    """The part that objectives share which compare the projections of two augmented views."""

    def __init__(
        self, blueprint: Blueprint, train: TrainConfig, *, width: int, inputs: tuple[int, ...]
    ) -> None:
        del inputs
        self.projector = Projector(blueprint, width, norm=train.norm)

    def draws(self, shape: tuple[int, ...]) -> int:
        return view_width(shape)

    def views(
        self,
        x: Tensor,
        draws: tuple[Tensor, Tensor],
        *,
        rows: Tensor | None,
        entrance: Entrance,
    ) -> Views:
        return tuple(entrance(view) for view in ssl_views(x, draws, rows))

    def memory(self, parameters: Parameters) -> State:
        del parameters
        return {}

    def outputs(self, encoder: SSLEncoder, views: Views, memory: State) -> Views:
        """The projections (K, n, d) of each view."""
        del memory
        return tuple(encoder(view, self.projector) for view in views)

    def remember(self, memory: State, outputs: Views) -> None:
        del memory, outputs

    def after_update(
        self, memory: State, parameters: Parameters, hyper: Hyper, progress: float
    ) -> None:
        del memory, parameters, hyper, progress
