"""Lists the layers of a training step by a pass that computes none of them.

Letters: K members, B samples, C channels, O outputs, I inputs, H x W pixels, F features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from trainers.batches import batch_sizes
from trainers.blueprint import Parameter
from trainers.catalogue import get
from trainers.config import TrainConfig
from trainers.fused import MOMENTUM, Part, Pass, ghosts, padding_of
from trainers.layout import Layout
from trainers.pack import design
from trainers.parameters import Parameters
from trainers.ssl import SSLEncoder

LayerKind = Literal[
    "convolution",
    "batch_norm",
    "group_norm",
    "linear",
    "pooled",
    "max_pooled",
    "layer_norm",
    "attention",
]
TITLES: dict[LayerKind, str] = {
    "convolution": "convolution",
    "batch_norm": "batch norm",
    "group_norm": "group norm",
    "linear": "linear layer",
    "pooled": "mean over pixels",
    "max_pooled": "maximum over pixels",
    "layer_norm": "layer norm",
    "attention": "attention",
}


PLACEHOLDER = 2  # samples of a recording's batch


@dataclass(frozen=True, order=True)
class Layer:
    """A layer call of a training step, whatever form computes it.

    Attributes:
        batch: B, samples of each member.
        inputs: channels or features of one member; `outputs` likewise.
        size: H, W of its input, or the places of an attention; () for rows.
        entry: shape of the batch that enters the network, (B, K, C, H, W) or (K, B, F): a form
            may choose its kernels by it.
        standardised: whether the filters of a convolution are.
        dtype: `float32`, `bfloat16` (autocast) or `float64`.
        members: K; the last field, so that sorted layers differ in it first.
    """

    kind: LayerKind
    batch: int
    inputs: int
    outputs: int
    kernel: int
    stride: int
    size: tuple[int, ...]
    bias: bool
    groups: int
    standardised: bool
    dtype: str
    entry: tuple[int, ...]
    members: int

    def __str__(self) -> str:
        """The layer for messages: `convolution 1x1, stride 2, 4 to 8 channels, ...`."""
        parts = [TITLES[self.kind]]
        if self.kind == "convolution":
            parts[0] += f" {self.kernel}x{self.kernel}"
            parts += ["standardised filters"] if self.standardised else []
            parts += [f"{self.groups} groups"] if self.groups > 1 else []
            parts += [f"stride {self.stride}", f"{self.inputs} to {self.outputs} channels"]
        elif self.kind == "linear":
            parts.append(f"{self.inputs} to {self.outputs} features")
        else:
            parts.append(f"{self.inputs} {'channels' if self.size else 'features'}")
        if self.kind == "attention":
            parts += [f"{self.size[0]} places", f"{self.groups} heads"]
        elif self.size:
            parts += ["{}x{} pixels".format(*self.size)]
        members = "1 member" if self.members == 1 else f"{self.members} members"
        return ", ".join([*parts, members, f"batch {self.batch}"])

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a forward pass; 0 for norms and means, which memory limits."""
        if self.kind == "linear":
            return self.members * self.batch * self.inputs * self.outputs
        if self.kind == "convolution":
            sides = [side_after(side, self.kernel, self.stride) for side in self.size]
            pixels, weights = math.prod(sides), self.kernel**2 * self.inputs * self.outputs
            weights //= self.groups
            return self.members * self.batch * pixels * weights
        if self.kind == "attention":
            return 2 * self.members * self.batch * self.size[0] ** 2 * self.inputs
        return 0


def side_after(side: int, kernel: int, stride: int) -> int:
    """The pixels of a side after a convolution or a maximum."""
    return (side + 2 * padding_of(kernel, stride) - kernel) // stride + 1


def calls(
    train: TrainConfig, *, inputs: tuple[int, ...], classes: int, samples: int, members: int
) -> list[Layer]:
    """Every layer call of a forward pass in training, over its largest batches; none of trees.

    Args:
        inputs: shape of one sample, as `Dataset.inputs`.
        samples: of the training subset; no batch is larger.
        members: K.
    """
    if get("model", train.model).made is None:
        return []
    batch = max(batch_sizes(samples, train.batch_size))
    views = train.ssl.batch_multiple * batch if train.ssl.weight > 0 else 0
    recording = Recording(train.precision)
    made = design(train, inputs=inputs, classes=classes, form=recording, device=torch.device("cpu"))
    specs = made.blueprint.parameters
    layout = Layout(1, {p.name: p.size for p in specs})
    blocks = Parameters(layout, torch.empty(layout.total), specs, form=recording)
    run = Pass(recording, 1, blocks.views, True)
    with torch.no_grad():
        made.network.logits(run, made.network.features(run, recording.enter(inputs, batch)))
        if made.ssl:
            encoder = SSLEncoder(made.network, run, blocks.views_of)
            made.ssl.outputs(encoder, (recording.enter(inputs, views),), {})
    entry = _entry(inputs, max(batch, views), members)
    return [replace(layer, members=members, entry=entry) for layer in recording.layers]


def _entry(inputs: tuple[int, ...], batch: int, members: int) -> tuple[int, ...]:
    return (members, batch, *inputs) if len(inputs) == 1 else (batch, members, *inputs)


class Recording:
    """A form that computes nothing and lists the layers that it is asked for.

    It receives two samples of one member, (2, C, H, W) or (1, 2, F): a pass takes almost no time.
    Further rows of a linear layer are places of a sample, such as the pixels of an image.
    """

    recorder = None

    def __init__(self, precision: str) -> None:
        self.layers: list[Layer] = []
        self._dtype = "float32" if precision in ("auto", "tf32") else precision
        self._batch = 1

    def enter(self, inputs: tuple[int, ...], batch: int) -> Tensor:
        """Returns a placeholder for a batch that enters a network, of two samples."""
        self._batch = batch
        shape = (PLACEHOLDER,) if len(inputs) == 3 else (1, PLACEHOLDER)
        return torch.zeros(*shape, *inputs)

    def _record(
        self,
        kind: LayerKind,
        x: Tensor,
        *,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        bias: bool = False,
        groups: int = 1,
        standardised: bool = False,
        batch: int | None = None,
        size: tuple[int, ...] | None = None,
    ) -> None:
        if size is None:
            size = tuple(x.shape[2:]) if x.dim() == 4 else ()
        made = Layer(
            kind,
            batch or self._batch,
            inputs,
            outputs,
            kernel,
            stride,
            size,
            bias,
            groups,
            standardised,
            self._dtype,
            (),
            1,
        )
        self.layers.append(made)

    def layout(self, members: int, sizes: Mapping[str, int]) -> Layout:
        return Layout(members, sizes)

    def chain(self, parts: Sequence[Part], run: Pass, x: Tensor) -> list[Tensor]:
        results: list[Tensor] = []
        for part in parts:
            x = part(run, x)
            results.append(x)
        return results

    def view(self, block: Tensor, parameter: Parameter, members: int) -> Tensor:
        return block.view(members, *parameter.shape)

    def images(self, x: Tensor) -> Tensor:
        return x[:, 0]

    def convolution(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        members: int,
        stride: int,
        groups: int = 1,
        standardised: bool = False,
    ) -> Tensor:
        _, outputs, kernel, _, inputs = weight.shape
        self._record(
            "convolution",
            x,
            inputs=inputs * groups,
            outputs=outputs,
            kernel=kernel,
            stride=stride,
            bias=bias is not None,
            groups=groups,
            standardised=standardised,
        )
        size = [side_after(side, kernel, stride) for side in x.shape[2:]]
        return x.new_zeros(x.shape[0], outputs, *size)

    def batch_norm(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        *,
        training: bool,
        statistics: tuple[Tensor, Tensor] | None,
        momentum: float = MOMENTUM,
        ghost: int = 0,
    ) -> Tensor:
        channels, parts = weight.shape[1], ghosts(self._batch, ghost)
        most = math.ceil(self._batch / parts)
        self._record("batch_norm", x, inputs=channels, outputs=channels, batch=most)
        return torch.zeros_like(x)

    def group_norm(
        self, x: Tensor, weight: Tensor, bias: Tensor, *, members: int, groups: int
    ) -> Tensor:
        channels = weight.shape[1]
        self._record("group_norm", x, inputs=channels, outputs=channels, groups=groups)
        return torch.zeros_like(x)

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        _, rows, features = x.shape
        rows = self._batch * rows // PLACEHOLDER
        self._record("layer_norm", x, inputs=features, outputs=features, batch=rows)
        return x

    def attention(self, x: Tensor, *, heads: int, tokens: int | None) -> Tensor:
        *_, places, features = x.shape
        features //= 3
        self._record(
            "attention", x, inputs=features, outputs=features, groups=heads, size=(places,)
        )
        return x[:, :, :tokens, :features]

    def places(self, x: Tensor, members: int) -> Tensor:
        return x.flatten(2).mT[None]

    def grid(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return x[0].mT.unflatten(2, size)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        _, inputs, outputs = weight.shape
        rows = self._batch * x.shape[1] // PLACEHOLDER
        self._record("linear", x, inputs=inputs, outputs=outputs, bias=bias is not None, batch=rows)
        return x.new_zeros(1, x.shape[1], outputs)

    def padded(self, x: Tensor, *, members: int, stride: int, channels: int) -> Tensor:
        size = [math.ceil(side / stride) for side in x.shape[2:]]
        return x.new_zeros(x.shape[0], channels, *size)

    def max_pooled(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        self._record("max_pooled", x, inputs=channels, outputs=channels, kernel=3, stride=2)
        return x.new_zeros(*x.shape[:2], *(side_after(side, 3, 2) for side in x.shape[2:]))

    def weighed(self, x: Tensor, factors: Tensor, members: int) -> Tensor:
        return x

    def pooled(self, x: Tensor, members: int) -> Tensor:
        channels = x.shape[1]
        self._record("pooled", x, inputs=channels, outputs=channels)
        return x.new_zeros(1, x.shape[0], channels)

    def backend(self, x: Tensor, members: int) -> AbstractContextManager[object]:
        return nullcontext()
