"""The parameters and statistics of K networks, each a flat tensor with views.

Letters: K members, C channels, P parameters of one member, n numbers of one block.

A flat tensor is *layer-major*: block after block, each (K, n). Blocks of equal size are neighbours,
so that a norm or a factor of each member takes one operation for each size, not for each layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from trainers.blueprint import Blueprint, Parameter
from trainers.fused import Form
from trainers.streams import generator


class Layout:
    """The position of each block in a layer-major flat tensor of K members."""

    def __init__(self, members: int, sizes: Mapping[str, int]) -> None:
        self.members = members
        self.sizes = dict(sizes)
        self.total = members * sum(self.sizes.values())
        self._runs = [(size, len(list(run))) for size, run in groupby(self.sizes.values())]

    def cut(self, flat: Tensor) -> dict[str, Tensor]:
        """Views (K n,) of the blocks; autograd returns their gradients as one tensor."""
        lengths = [self.members * size for size in self.sizes.values()]
        return dict(zip(self.sizes, flat.split(lengths), strict=True))

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views (K, n) of the blocks."""
        return {name: block.view(self.members, -1) for name, block in self.cut(flat).items()}

    def groups(self, flat: Tensor) -> list[Tensor]:
        """Views (m, K, n) of m neighbouring blocks of equal size, which cover the tensor."""
        lengths = [self.members * size * many for size, many in self._runs]
        return [
            part.view(many, self.members, size)
            for part, (size, many) in zip(flat.split(lengths), self._runs, strict=True)
        ]

    def norms(self, flat: Tensor) -> Tensor:
        """The Euclidean norm of each member's numbers: (K,)."""
        if self.members == 1:
            return torch.linalg.vector_norm(flat).view(1)
        parts = [torch.linalg.vector_norm(group, dim=(0, 2)) for group in self.groups(flat)]
        return torch.linalg.vector_norm(torch.stack(parts), dim=0)

    def scale_(self, flat: Tensor, factors: Tensor) -> Tensor:
        """Multiplies each member's numbers by its factor (K,), in place."""
        if self.members == 1:
            return flat.mul_(factors)
        for group in self.groups(flat):
            group.mul_(factors[:, None])
        return flat

    def spread(self, values: Tensor) -> Tensor:
        """Repeats each member's number (K,) at each of its positions: (total,)."""
        return self.scale_(values.new_ones(self.total), values)

    def select(self, flat: Tensor, keep: Sequence[int]) -> Tensor:
        """The flat tensor of some members only."""
        parts = [group[:, list(keep)].flatten() for group in self.groups(flat)]
        return torch.cat(parts) if parts else flat.clone()

    def finite(self, flat: Tensor) -> Tensor:
        """Whether all numbers of a member are finite: (K,) bool."""
        # In float64, so that the squares of large finite numbers do not overflow.
        return self.norms(flat.to(torch.float64)).isfinite()


class Parameters:
    """The parameters of a pack: one leaf tensor, and the views of it that layers use.

    `flat` is changed only through `data`, an alias that autograd does not track. So the views are
    made once and stay valid after every step.

    Attributes:
        flat: (K P,) leaf; parameters with weight decay come first, and are `decaying` many.
        views: name -> the block in the form's layout.
    """

    def __init__(
        self, layout: Layout, flat: Tensor, parameters: Sequence[Parameter], *, form: Form
    ) -> None:
        self.layout = layout
        self.specs = tuple(parameters)
        self.flat = flat.requires_grad_()
        self.data = flat.data
        self._form = form
        self.views = self.views_of(self.flat)
        self.decaying = layout.members * sum(p.size for p in self.specs if p.decays)

    @property
    def count(self) -> int:
        """P, the number of parameters of one member."""
        return self.flat.numel() // self.layout.members

    def blocks(self) -> dict[str, Tensor]:
        """Name -> (K, *shape), without gradient, for checkpoints and tests."""
        blocks = self.layout.split(self.data)
        return {p.name: blocks[p.name].view(-1, *p.shape) for p in self.specs}

    def views_of(self, flat: Tensor) -> dict[str, Tensor]:
        """The same views of another tensor (K P,), such as a target network's."""
        blocks, members = self.layout.cut(flat), self.layout.members
        return {p.name: self._form.view(blocks[p.name], p, members) for p in self.specs}

    def blank(self, members: int) -> Parameters:
        """The same parameters of other members, whose numbers are not yet set."""
        layout = Layout(members, self.layout.sizes)
        return Parameters(layout, self.data.new_empty(layout.total), self.specs, form=self._form)


def draw_parameters(
    blueprint: Blueprint,
    replicates: Sequence[int],
    *,
    fingerprint: str,
    form: Form,
    device: torch.device,
    dtype: torch.dtype,
) -> Parameters:
    """Draws the initial parameters of K members.

    Each parameter has a random stream named after it and the member's replicate, so a draw depends
    neither on K nor on the rest of the network.
    """
    specs = sorted(blueprint.parameters, key=lambda p: (not p.decays, p.size))
    layout = Layout(len(replicates), {p.name: p.size for p in specs})
    drawn = {
        replicate: _drawn(blueprint, specs, fingerprint, replicate) for replicate in set(replicates)
    }
    blocks = [drawn[r][i].ravel() for i in range(len(specs)) for r in replicates]
    flat = torch.from_numpy(np.concatenate(blocks)).to(device, dtype)
    return Parameters(layout, flat, specs, form=form)


def _drawn(
    blueprint: Blueprint, specs: Sequence[Parameter], fingerprint: str, replicate: int
) -> list[np.ndarray]:
    """One replicate's parameters, in the order of `specs`."""
    whole: Mapping[str, np.ndarray] = {}
    if blueprint.start is not None:
        whole = blueprint.start(generator(fingerprint, replicate, "init"))
    return [
        whole[p.name]
        if p.name in whole
        else p.draw(generator(fingerprint, replicate, f"init:{p.name}"), p.shape)
        for p in specs
    ]


class Statistics:
    """Means and variances of a pack's batch norms, each in a flat tensor (K sum(C),)."""

    def __init__(self, layout: Layout, mean: Tensor, var: Tensor) -> None:
        self.layout, self.mean, self.var = layout, mean, var
        means, variances = layout.split(mean), layout.split(var)
        self.views = {
            name: (means[name].view(-1), variances[name].view(-1)) for name in layout.sizes
        }

    @classmethod
    def fresh(
        cls, norms: Mapping[str, int], members: int, *, device: torch.device, dtype: torch.dtype
    ) -> Statistics:
        """Starts with mean 0 and variance 1."""
        layout = Layout(members, norms)
        mean = torch.zeros(layout.total, device=device, dtype=dtype)
        return cls(layout, mean, torch.ones_like(mean))
