"""The parameters and statistics of K networks, each a flat tensor with views.

Letters: K members, C channels, P parameters of one member, n numbers of one block.

Flat tensors are layer-major, see `trainers.layout`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from trainers.blueprint import Blueprint, Parameter
from trainers.fused import Form
from trainers.layout import Layout
from trainers.streams import generator


class Views(dict[str, Tensor]):
    """The parameters of K members in a form's layout, by name.

    Attributes:
        flat: (K P,), which they are views of.
        data: an alias of it whose version changes whenever a number does.
    """

    def __init__(
        self,
        views: Mapping[str, Tensor],
        *,
        flat: Tensor,
        data: Tensor,
        layout: Layout,
        specs: Sequence[Parameter],
    ) -> None:
        super().__init__(views)
        self.flat, self.data, self.layout, self.specs = flat, data, layout, specs


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

    def views_of(self, flat: Tensor) -> Views:
        """The same views of another tensor (K P,), such as a target network's."""
        blocks, members = self.layout.cut(flat), self.layout.members
        views = {p.name: self._form.view(blocks[p.name], p, members) for p in self.specs}
        data = self.data if flat is self.flat else flat
        return Views(views, flat=flat, data=data, layout=self.layout, specs=self.specs)

    def blank(self, members: int) -> Parameters:
        """The same parameters of other members, whose numbers are not yet set."""
        layout = self._form.layout(members, self.layout.sizes)
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
    layout = form.layout(len(replicates), {p.name: p.size for p in specs})
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


class Statistics(Mapping[str, tuple[Tensor, Tensor]]):
    """Means and variances of a pack's batch norms, each in a flat tensor (K sum(C),).

    It maps a norm's name to views of both, (K C,).
    """

    def __init__(self, layout: Layout, mean: Tensor, var: Tensor) -> None:
        self.layout, self.mean, self.var = layout, mean, var
        means, variances = layout.split(mean), layout.split(var)
        self.views = {
            name: (means[name].view(-1), variances[name].view(-1)) for name in layout.sizes
        }

    def __getitem__(self, name: str) -> tuple[Tensor, Tensor]:
        return self.views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.views)

    def __len__(self) -> int:
        return len(self.views)

    @classmethod
    def fresh(
        cls, norms: Mapping[str, int], members: int, *, device: torch.device, dtype: torch.dtype
    ) -> Statistics:
        """Starts with mean 0 and variance 1."""
        layout = Layout(members, norms)
        mean = torch.zeros(layout.total, device=device, dtype=dtype)
        return cls(layout, mean, torch.ones_like(mean))
