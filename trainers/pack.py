"""K networks as one object: parameters, statistics, and passes through the networks.

Letters: K members, B samples of a batch, N samples of a split, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers import catalogue
from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.feed import Batch
from trainers.fused import Form, Moments, Pass
from trainers.hyper import Hyper
from trainers.losses import Loss
from trainers.losses.weights import class_weights
from trainers.masks import DropRates, Masks
from trainers.models import Network
from trainers.optimizers import pretraining_steps
from trainers.parameters import Parameters, Statistics, draw_parameters
from trainers.ssl import SSLEncoder, SSLObjective, Views
from trainers.state import Kept, State

CLASS_WEIGHTS = "class weights"


@dataclass(frozen=True)
class Precision:
    """The type of the parameters, and whether passes use bfloat16 autocast."""

    dtype: torch.dtype
    autocast: bool

    @classmethod
    def of(cls, name: str, device: torch.device) -> Precision:
        """`auto` is bfloat16 autocast on a GPU, float32 on a CPU."""
        if name == "auto":
            name = "bfloat16" if device.type == "cuda" else "float32"
        dtype = torch.float64 if name == "float64" else torch.float32
        return cls(dtype, name == "bfloat16")

    def casting(self, device: torch.device) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        if not self.autocast:
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


@dataclass(frozen=True)
class PackDesign:
    """What all members share: a network, perhaps an SSL objective, and how they are computed.

    Attributes:
        own: the names of the network's parameters; all others are of the SSL objective.
        programs: what the form keeps of the network.
    """

    network: Network
    own: tuple[str, ...]
    ssl: SSLObjective | None
    blueprint: Blueprint
    form: Form
    precision: Precision
    device: torch.device
    programs: dict[Any, Any] = field(default_factory=dict)


def design(
    train: TrainConfig,
    *,
    inputs: tuple[int, ...],
    classes: int,
    form: Form,
    device: torch.device,
    constants: Mapping[str, np.ndarray] | None = None,
) -> PackDesign:
    """Builds the network of a configuration, and the heads of an SSL objective with weight.

    Args:
        constants: of a saved model; None: the network makes them from the data.
    """
    blueprint = Blueprint(constants=dict(constants or {}))
    made = catalogue.get("model", train.model).load()
    network = made(blueprint, train, inputs=inputs, classes=classes)
    own = tuple(parameter.name for parameter in blueprint.parameters)
    ssl = None
    if train.ssl.weight > 0:
        objective = catalogue.get("ssl", train.ssl.loss).load()
        ssl = objective(blueprint, train, width=network.width, inputs=inputs)
    precision = Precision.of(train.precision, device)
    return PackDesign(network, own, ssl, blueprint, form, precision, device)


class PackedNetworks:
    """The networks of K members."""

    def __init__(self, design: PackDesign, parameters: Parameters, statistics: Statistics) -> None:
        self.design, self.parameters, self.statistics = design, parameters, statistics
        self.members = parameters.layout.members
        self._moving = self._pass(True, self.statistics)
        self._still = self._pass(True, None)

    @classmethod
    def fresh(
        cls, design: PackDesign, replicates: Sequence[int], *, fingerprint: str
    ) -> PackedNetworks:
        """A pack before training: drawn parameters, initial statistics."""
        form, device, dtype = design.form, design.device, design.precision.dtype
        parameters = draw_parameters(
            design.blueprint,
            replicates,
            fingerprint=fingerprint,
            form=form,
            device=device,
            dtype=dtype,
        )
        norms = design.blueprint.norms
        statistics = Statistics.fresh(norms, len(replicates), device=device, dtype=dtype)
        return cls(design, parameters, statistics)

    def blank(self, members: int) -> PackedNetworks:
        """A pack of the same design with other members, whose numbers are not yet set."""
        parameters = self.parameters.blank(members)
        data, norms = parameters.data, self.design.blueprint.norms
        statistics = Statistics.fresh(norms, members, device=data.device, dtype=data.dtype)
        return PackedNetworks(self.design, parameters, statistics)

    @property
    def state(self) -> State:
        """The parameters and the running statistics."""
        parameters = Kept(self.parameters.data, self.parameters.layout)
        return {"parameters": parameters, **self.statistics_state}

    @property
    def statistics_state(self) -> State:
        """The running statistics."""
        layout = self.statistics.layout
        return {
            "statistics.mean": Kept(self.statistics.mean, layout),
            "statistics.var": Kept(self.statistics.var, layout),
        }

    def _pass(
        self, training: bool, statistics: Statistics | None, moments: Moments | None = None
    ) -> Pass:
        design, views = self.design, self.parameters.views
        return Pass(
            design.form,
            self.members,
            views,
            training,
            statistics,
            moments,
            programs=design.programs,
        )

    def finite(self) -> Tensor:
        """Whether all parameters of a member are finite: (K,) bool."""
        return self.parameters.layout.finite(self.parameters.data)

    def logits(self, x: Tensor, *, moving: bool) -> Tensor:
        """Logits (K, B, C) of a training batch; `moving` updates the running statistics."""
        return self.outputs(x, moving=moving, masks=None)[1]

    def outputs(self, x: Tensor, *, moving: bool, masks: Masks | None) -> tuple[Tensor, Tensor]:
        """Features and logits of a training batch; logits (K, B, k, C) of k submodels."""
        run = self._moving if moving else self._still
        run = run if masks is None else replace(run, masks=masks)
        with self.design.precision.casting(self.design.device):
            features, logits = self._chain(run, x)
            return features, logits.to(self.design.precision.dtype)

    def _chain(self, run: Pass, x: Tensor) -> list[Tensor]:
        """Features and logits."""
        network = self.design.network
        return self.design.form.chain((network.features, network.logits), run, x)

    def head_logits(
        self, features: Tensor, views: Mapping[str, Tensor], masks: Masks | None
    ) -> Tensor:
        """Logits (K, B, C) of a training batch's features, with other parameters, by name."""
        run = replace(self._still, views=views, masks=masks)
        with self.design.precision.casting(self.design.device):
            return self.design.network.logits(run, features).to(self.design.precision.dtype)

    def ssl_outputs(self, views: Views, memory: State) -> Views:
        """What the SSL objective compares; leaves the running statistics unchanged."""
        ssl = self.design.ssl
        if ssl is None:
            raise ValueError("this pack was designed without SSL")
        encoder = SSLEncoder(self.design.network, self._still, self.parameters.views_of)
        with self.design.precision.casting(self.design.device):
            outputs = ssl.outputs(encoder, views, memory)
        return tuple(output.to(self.design.precision.dtype) for output in outputs)

    def body(self, x: Tensor) -> Tensor:
        """Features (K, B, width) with the current statistics, for `head`."""
        with self._computing(x):
            run, parts = self._pass(False, self.statistics), (self.design.network.features,)
            (features,) = self.design.form.chain(parts, run, x)
        return features.to(self.design.precision.dtype)

    def head(self, features: Tensor) -> Tensor:
        """Logits (K, B, C) of features with the current statistics."""
        with self.design.precision.casting(self.design.device):
            run, parts = self._pass(False, self.statistics), (self.design.network.logits,)
            (logits,) = self.design.form.chain(parts, run, features)
        return joined(logits).to(self.design.precision.dtype)

    @torch.no_grad()
    def evaluate(self, x: Tensor) -> Tensor:
        """Logits (K, B, C), with the current statistics."""
        with self._computing(x):
            logits = self._chain(self._pass(False, self.statistics), x)[1]
        return joined(logits).to(self.design.precision.dtype)

    @contextmanager
    def _computing(self, x: Tensor) -> Iterator[None]:
        """The precision and kernels of a pass over `x` without gradient."""
        precision, device = self.design.precision, self.design.device
        with precision.casting(device), self.design.form.backend(x, self.members):
            yield

    @torch.no_grad()
    def clean_statistics(self, batches: Iterable[tuple[int, Tensor]]) -> None:
        """Sets the statistics to the mean and variance over all batches of (samples, x).

        Batches are pooled exactly (Chan et al. 1979); each is normalised by itself, as in training.
        """
        moments: Moments = {}
        run = self._pass(True, None, moments)
        mean, var, total = self.statistics.mean, self.statistics.var, 0
        for samples, x in batches:
            with self._computing(x):
                self.design.form.chain((self.design.network.features,), run, x)
            total += samples
            self._pool(mean, var, moments, samples / total)

    def _pool(self, mean: Tensor, var: Tensor, moments: Moments, share: float) -> None:
        """Merges a batch, which has this share of all samples so far, into mean and variance."""
        names = self.statistics.layout.sizes
        of_batch = [torch.cat([moments[name][i] for name in names]).to(mean) for i in (0, 1)]
        if share == 1.0:  # no lerp, because the previous statistics may be NaN
            mean.copy_(of_batch[0])
            var.copy_(of_batch[1])
            return
        gap = of_batch[0] - mean
        var.lerp_(of_batch[1], share).addcmul_(gap, gap, value=share * (1 - share))
        mean.add_(gap, alpha=share)


class PackLoss:
    """The objective of each member, L = L_sup + weight L_SSL, as (K,).

    Attributes:
        progress: the share of the run's updates made; some losses change with it.
        pretraining: whether L = L_SSL now.
        of_classes: name -> (K, C), numbers of each class that batches must have for each sample.
        memory: what the SSL objective keeps beside the parameters.
    """

    def __init__(self, pack: PackedNetworks, hyper: Hyper, counts: Sequence[int]) -> None:
        data, first = pack.parameters.data, hyper.first
        self._hyper, self._ssl, self.progress = hyper, pack.design.ssl, 0.0
        self._progress: Tensor | None = None
        self.pretraining, self._joint = False, first.ssl.joint
        self._train = first
        counted = torch.tensor([counts], device=data.device)
        self._loss: Loss = catalogue.get("loss", first.loss).load()(hyper, counted)
        self._weight = hyper.tensor("ssl.weight")
        self._weights_from = first.class_weights.start
        self._rates = DropRates.of(hyper)
        self.of_classes: dict[str, Tensor] = {}
        if first.class_weights.by != "none":
            weights = class_weights(first.class_weights, counts)
            self.of_classes[CLASS_WEIGHTS] = weights.to(data).expand(len(hyper.trains), -1)
        self.memory: State = self._ssl.memory(pack.parameters) if self._ssl else {}
        self._outputs: list[Views] = []

    def at(self, step: int, steps: int) -> None:
        """Says that the next update is `step`, of so many."""
        self.progress = step / steps
        self.pretraining = step < pretraining_steps(self._train, steps)
        if self._progress is not None:
            self._progress.fill_(self.progress)

    def keep_progress(self) -> None:
        """Gives losses the share of the updates made as a tensor, at one address."""
        self._progress = self._hyper.like.new_zeros(())

    @property
    def kind(self) -> tuple[bool, bool]:
        """What the host decides about the objective of the next update."""
        return self.pretraining, self.progress >= self._weights_from

    def terms(
        self, pack: PackedNetworks, batch: Batch, *, moving: bool, first: bool = False
    ) -> LossTerms:
        """The terms of a step's losses; the masks of a batch are the same in every pass.

        The SSL objective may remember a `first` pass after the update.
        """
        features, logits = pack.outputs(batch.x, moving=moving, masks=self._masks(batch))
        losses, logits = self.losses(logits, batch), joined(logits)
        if self._ssl is None or batch.views is None or not (self.pretraining or self._joint):
            return LossTerms(features, logits, losses, None)
        outputs = pack.ssl_outputs(batch.views, self.memory)
        if first and self.memory:
            self._outputs.append(tuple(output.detach() for output in outputs))
        ssl = self._ssl.loss(outputs, batch.views, self._hyper)
        return LossTerms(features, logits, losses, ssl if self.pretraining else self._weight * ssl)

    def head_losses(
        self, pack: PackedNetworks, features: Tensor, batch: Batch, views: Mapping[str, Tensor]
    ) -> Tensor:
        """The losses (K, B) of a batch's features, with other parameters, by name."""
        return self.losses(pack.head_logits(features, views, self._masks(batch)), batch)

    def _masks(self, batch: Batch) -> Masks | None:
        return None if batch.keys is None else Masks(batch.keys, self._rates)

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        """The supervised losses of a batch's samples, with the weights of their classes: (K, B)."""
        losses = self._losses(logits, batch.targets)
        if self.pretraining:
            return losses * 0.0
        if self.of_classes and self.progress >= self._weights_from:
            return losses * batch.of_samples[CLASS_WEIGHTS]
        return losses

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of each sample, (K, B): with submodels, the mean of their losses."""
        if logits.dim() == 3:
            return self._loss(logits, targets, self._share)
        submodels = logits.shape[2]
        of_each = targets.repeat_interleave(submodels, dim=1)
        losses = self._loss(logits.flatten(1, 2), of_each, self._share)
        return losses.unflatten(1, (-1, submodels)).mean(2)

    @property
    def _share(self) -> float | Tensor:
        """The share of the updates made, for losses."""
        return self.progress if self._progress is None else self._progress

    def remember(self) -> None:
        """Changes the memory by what first passes have compared."""
        for outputs in self._outputs:
            assert self._ssl is not None  # noqa: S101
            self._ssl.remember(self.memory, outputs)
        self._outputs.clear()

    def after_update(self, pack: PackedNetworks) -> None:
        """Changes the memory after an update."""
        if self._ssl is not None:
            self._ssl.after_update(self.memory, pack.parameters, self._hyper, self.progress)


def joined(logits: Tensor) -> Tensor:
    """Logits (K, B, C); of submodels, (K, B, k, C), the logarithm of their mean probabilities."""
    if logits.dim() == 3:
        return logits
    return logits.log_softmax(-1).logsumexp(2) - math.log(logits.shape[2])


@dataclass(frozen=True)
class LossTerms:
    """What a pass over a batch gives.

    Attributes:
        features: (K, B, width), or what the network has in their place.
        logits: (K, B, C).
        losses: supervised, (K, B).
        ssl: the weighted SSL loss (K,), or None.
    """

    features: Tensor
    logits: Tensor
    losses: Tensor
    ssl: Tensor | None

    @cached_property
    def objective(self) -> Tensor:
        """What is minimised: the mean supervised loss and the SSL loss, (K,)."""
        return self.plus_ssl(self.losses.mean(1))

    def plus_ssl(self, supervised: Tensor) -> Tensor:
        """Adds the SSL loss, if there is one, to a supervised loss (K,)."""
        return supervised if self.ssl is None else supervised + self.ssl
