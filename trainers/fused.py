"""Computes the layers of K networks as one: layers have a dimension K.

Letters: K members, B samples of a batch, C channels, O outputs, I inputs, H x W pixels, F features,
n numbers of one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.blueprint import Parameter
from trainers.layout import Layout
from trainers.masks import Masks
from trainers.recording import CudaGraph, StepRecorder

Moments = dict[str, tuple[Tensor, Tensor]]
Part = Callable[["Pass", Tensor], Tensor]  # of a network: from a batch to its features, say
EPSILON = 1e-5
FILTER_EPSILON = 1e-6  # of weight standardisation, as in timm
MOMENTUM = 0.1
# Below this many pixels a batch (of one member, of all members), oneDNN's fixed cost a call exceeds
# what its arithmetic saves. Measured on 8x8 images, ms a step with and without oneDNN: alone 2.5
# and 1.4 at batch 2, 3.5 and 2.1 at 8, 3.5 and 6.7 at 16; five together 3.8 and 3.3 at 2, 5.5 and
# 6.7 at 8; ten together 6.0 and 5.8 at 2, 7.5 and 8.5 at 4.
NATIVE_PIXELS, NATIVE_PIXELS_TOGETHER = 512, 1280


class Form(Protocol):
    """How K layers are computed as one. Networks use only this interface.

    The form chooses the layout of data between its layers; `images` converts to it and `pooled`
    from it. Tables are (K, B, F) throughout.
    """

    @property
    def recorder(self) -> Callable[[], StepRecorder] | None:
        """Makes what records the gradient of a step; None: every step is computed anew."""
        ...

    def layout(self, members: int, sizes: Mapping[str, int]) -> Layout:
        """The layout of parameters, with its sums."""
        ...

    def chain(self, parts: Sequence[Part], run: Pass, x: Tensor) -> list[Tensor]:
        """Computes parts that follow one another; the result of each."""
        ...

    def view(self, block: Tensor, parameter: Parameter, members: int) -> Tensor:
        """A parameter's block (K n,) in the layout of the layers below, without a copy.

        Few view operations, because each costs 3 us in a backward pass.
        """
        ...

    def images(self, x: Tensor) -> Tensor:
        """Converts (S, K, C, H, W) to the form's layout; a slice along S is a batch."""
        ...

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
        """A convolution, padded so that stride 1 keeps the size; patches have no padding.

        Args:
            groups: of each member's channels.
            standardised: whether each filter has mean 0 and variance 1 where it is used.
        """
        ...

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
        """Batch norm of images, or of the columns of tables.

        In training it uses the batch and updates the statistics, if given; otherwise it uses them.
        With `ghost` it cuts the batch of a training pass into parts of at least so many samples,
        which are normalised, and update the statistics, one after the other.
        """
        ...

    def group_norm(
        self, x: Tensor, weight: Tensor, bias: Tensor, *, members: int, groups: int
    ) -> Tensor:
        """Group norm of images, or of the columns of tables, for each sample separately."""
        ...

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        """Layer norm of each row's features, (K, N, F)."""
        ...

    def attention(self, x: Tensor, *, heads: int, tokens: int | None) -> Tensor:
        """Attention to all T tokens, from queries, keys and values: (K, B, T, 3 F) -> F.

        From the first `tokens` only, where it is set: (K, B, tokens, F).
        """
        ...

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(K, B, I) -> (K, B, O)."""
        ...

    def places(self, x: Tensor, members: int) -> Tensor:
        """Converts from the form's layout: the channels of each pixel, (K, B, H W, C)."""
        ...

    def grid(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Converts the channels of pixels, (K, B, H W, C), to images in the form's layout."""
        ...

    def padded(self, x: Tensor, *, members: int, stride: int, channels: int) -> Tensor:
        """Every `stride`-th pixel of images, with as many channels of zeros before as after."""
        ...

    def max_pooled(self, x: Tensor) -> Tensor:
        """The largest value of 3x3 pixels at every second pixel of images."""
        ...

    def weighed(self, x: Tensor, factors: Tensor, members: int) -> Tensor:
        """Multiplies each sample of images by its member's factor, (K, B)."""
        ...

    def pooled(self, x: Tensor, members: int) -> Tensor:
        """Converts from the form's layout: the mean over pixels, (K, B, C)."""
        ...

    def backend(self, x: Tensor, members: int) -> AbstractContextManager[object]:
        """The context in which every pass over such a batch runs, forward and backward."""
        ...


class Folded:
    """Folds members into channels, (B, K C, H, W), channels last, with grouped convolutions.

    Tables use batched matrix products.
    """

    @property
    def recorder(self) -> Callable[[], StepRecorder] | None:
        return None

    def layout(self, members: int, sizes: Mapping[str, int]) -> Layout:
        return Layout(members, sizes)

    def chain(self, parts: Sequence[Part], run: Pass, x: Tensor) -> list[Tensor]:
        results: list[Tensor] = []
        for part in parts:
            x = part(run, x)
            results.append(x)
        return results

    def view(self, block: Tensor, parameter: Parameter, members: int) -> Tensor:
        kind, shape = parameter.kind, parameter.shape
        if kind == "convolution":
            # (O, kh, kw, I) in memory is the order that channels-last kernels read without a copy.
            return block.view(members * shape[0], *shape[1:]).permute(0, 3, 1, 2)
        if kind == "channels":
            return block
        if kind in ("linear", "free"):
            return block.view(members, *shape)
        return block.view(members, 1, -1)

    def images(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 4, 1, 2).flatten(3).permute(0, 3, 1, 2)

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
        if standardised:
            var, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
            weight = (weight - mean) * (var + FILTER_EPSILON).rsqrt()
        if weight.shape[-1] == 1 and stride > 1:
            # oneDNN computes a strided 1x1 convolution with a copy into a buffer, and its AVX2
            # kernels write beyond that buffer (uxlfoundation/oneDNN#6035): wrong gradients, or a
            # damaged heap.
            x, stride = x[:, :, ::stride, ::stride], 1
        return self._convolved(x, weight, bias, members, stride, groups)

    def _convolved(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, members: int, stride: int, groups: int
    ) -> Tensor:
        """A convolution whose filters are as they are used."""
        padding = padding_of(weight.shape[-1], stride)
        return F.conv2d(x, weight, bias, stride, padding, 1, members * groups)

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
        mean, var = statistics or (None, None)
        rows = x if x.dim() == 4 else x.transpose(0, 1).flatten(1)

        def normed(part: Tensor) -> Tensor:
            return F.batch_norm(part, mean, var, weight, bias, training, momentum, EPSILON)

        number = ghosts(len(rows), ghost) if training else 1
        rows = (
            normed(rows)
            if number == 1
            else torch.cat([normed(part) for part in rows.tensor_split(number)])
        )
        return rows if x.dim() == 4 else rows.view(len(rows), x.shape[0], -1).transpose(0, 1)

    def group_norm(
        self, x: Tensor, weight: Tensor, bias: Tensor, *, members: int, groups: int
    ) -> Tensor:
        if x.dim() == 4:
            return F.group_norm(x, members * groups, weight, bias, EPSILON)
        rows = x.transpose(0, 1).flatten(1)
        rows = F.group_norm(rows, members * groups, weight, bias, EPSILON)
        return rows.view(len(rows), members, -1).transpose(0, 1)

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        return torch.addcmul(bias, F.layer_norm(x, x.shape[-1:], eps=epsilon), weight)

    def attention(self, x: Tensor, *, heads: int, tokens: int | None) -> Tensor:
        apart = x.flatten(0, 1).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = apart.unbind(0)
        seen = F.scaled_dot_product_attention(queries[:, :, :tokens], keys, values)
        return seen.transpose(1, 2).flatten(2).unflatten(0, x.shape[:2])

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return x @ weight if bias is None else torch.baddbmm(bias, x, weight)

    def places(self, x: Tensor, members: int) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1, 2).unflatten(-1, (members, -1)).permute(2, 0, 1, 3)

    def grid(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return x.permute(1, 2, 0, 3).flatten(2).unflatten(1, size).permute(0, 3, 1, 2)

    def padded(self, x: Tensor, *, members: int, stride: int, channels: int) -> Tensor:
        x = x[:, :, ::stride, ::stride].unflatten(1, (members, -1))
        missing = channels - x.shape[2]
        x = F.pad(x, (0, 0, 0, 0, missing // 2, missing - missing // 2))
        return x.flatten(1, 2).contiguous(memory_format=torch.channels_last)

    def max_pooled(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, 1)

    def weighed(self, x: Tensor, factors: Tensor, members: int) -> Tensor:
        of_channels = factors.T.repeat_interleave(x.shape[1] // members, dim=1)
        return x * of_channels[:, :, None, None].to(x.dtype)

    def pooled(self, x: Tensor, members: int) -> Tensor:
        return x.mean((2, 3)).unflatten(1, (members, -1)).transpose(0, 1)

    def backend(self, x: Tensor, members: int) -> AbstractContextManager[object]:
        pixels = x.numel() // x.shape[1] if x.dim() == 4 else x.shape[1]
        few = pixels <= NATIVE_PIXELS and pixels * members <= NATIVE_PIXELS_TOGETHER
        few = few and x.device.type == "cpu"
        return without_onednn() if few else nullcontext()


def padding_of(kernel: int, stride: int) -> int:
    """The pixels of padding on each side of an image; none where kernels do not overlap."""
    return kernel // 2 if kernel > stride else 0


def ghosts(samples: int, ghost: int) -> int:
    """The number of virtual batches, each of at least `ghost` samples; 1 where `ghost` is 0."""
    return max(1, samples // ghost) if ghost else 1


class Native(Folded):
    """Computes as `Folded` does, but with PyTorch's own kernels, never oneDNN; slower."""

    def backend(self, x: Tensor, members: int) -> AbstractContextManager[object]:
        return without_onednn() if x.device.type == "cpu" else nullcontext()


class Unfolded(Folded):
    """Computes convolutions as one product of matrices for each member, of unfolded patches.

    On some GPUs grouped convolutions are slow in training.
    """

    def _convolved(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, members: int, stride: int, groups: int
    ) -> Tensor:
        if groups > 1:
            return super()._convolved(x, weight, bias, members, stride, groups)
        kernel, samples = weight.shape[-1], len(x)
        padding = padding_of(kernel, stride)
        patches = F.unfold(x, kernel, 1, padding, stride).unflatten(1, (members, -1))
        filters = weight.flatten(1).unflatten(0, (members, -1))
        made = filters @ patches.permute(1, 2, 0, 3).flatten(2)
        size = [(side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:]]
        images = made.unflatten(2, (samples, *size)).permute(2, 3, 4, 0, 1).flatten(3)
        images = images if bias is None else images + bias
        return images.permute(0, 3, 1, 2)


class RecordedFolded(Folded):
    """Computes as `Folded` does, but records the gradient of a step."""

    @property
    def recorder(self) -> Callable[[], StepRecorder]:
        return CudaGraph


class RecordedUnfolded(Unfolded):
    """Computes as `Unfolded` does, but records the gradient of a step."""

    @property
    def recorder(self) -> Callable[[], StepRecorder]:
        return CudaGraph


@contextmanager
def without_onednn() -> Iterator[None]:
    """A context with PyTorch's own kernels. (`mkldnn.flags` would set TF32, and warn about it.)"""
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


@dataclass(frozen=True)
class Pass:
    """A pass through a network.

    Attributes:
        training: whether batch norms use the batch instead of `statistics`.
        statistics: name of a batch norm -> mean and variance (K C,), which training updates; None
            updates nothing.
        moments: where each batch norm stores the mean and variance of its input, if requested.
        masks: of dropout and stochastic depth; None drops nothing.
        programs: what a form keeps of a network, for all passes of a pack.
    """

    form: Form
    members: int
    views: Mapping[str, Tensor]
    training: bool
    statistics: Mapping[str, tuple[Tensor, Tensor]] | None = None
    moments: Moments | None = None
    masks: Masks | None = None
    programs: dict[Any, Any] = field(default_factory=dict)
