"""Virtual batches, layer norm, standardised filters and narrow networks, against plain ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from plain_networks import PlainMLP, PlainResNet, difference, load_blocks
from small_packs import config, images, pack, parameters_of, table, train_steps
from torch import Tensor, nn

from trainers.config import ConfigError
from trainers.loop import PackTrainer

EXACT = {"precision": "float64", "schedule": "constant", "weight_decay": 0.0}


def follow(trainer: PackTrainer, plain: nn.Module) -> None:
    """Trains both for three updates of SGD and compares the parameters."""
    load_blocks(plain, parameters_of(trainer, 0))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for batch in train_steps(trainer, 3):
        optimizer.zero_grad()
        x = batch.x if batch.x.dim() == 4 else batch.x[0]
        F.cross_entropy(plain(x), batch.labels[0]).backward()
        optimizer.step()
    assert difference(plain, parameters_of(trainer, 0)) < 1e-11


def replaced(network: nn.Module, kind: type[nn.Module], by: Callable[[nn.Module], None]) -> None:
    """Gives every layer of a kind another forward pass."""
    for layer in network.modules():
        if isinstance(layer, kind):
            by(layer)


def in_parts(sizes: list[int]) -> Callable[[nn.Module], None]:
    """A batch norm of parts of these sizes, one after the other, each by PyTorch's own layer."""

    def change(layer: nn.Module) -> None:
        whole = layer.forward
        layer.forward = lambda x: torch.cat([whole(part) for part in x.split(sizes)])  # type: ignore[method-assign]

    return change


@pytest.mark.parametrize(("ghost", "sizes"), [(4, [4, 4, 4]), (5, [6, 6]), (12, [12])])
def test_virtual_batches_are_normalised_one_by_one(ghost: int, sizes: list[int]) -> None:
    """Updates and running statistics are those of batch norms that see a part at a time."""
    settings = {"batch_size": 12, "ghost_batch": ghost, "norm_statistics": "running"}
    for data, plain, more in (
        (images(), PlainResNet(8, 8, channels=1, classes=3), {"width": 0.5}),
        (table(), PlainMLP(11, 32, depth=2, classes=3), {"model": "mlp"}),
    ):
        replaced(plain, nn.modules.batchnorm._BatchNorm, in_parts(sizes))
        trainer = pack(data, config(**settings, **more, **EXACT))
        follow(trainer, plain.double())
        layer = plain.hidden0_norm if isinstance(plain, PlainMLP) else plain.stem_norm
        assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
        mean, var = next(iter(trainer.pack.statistics.views.values()))
        assert layer.running_mean is not None
        assert layer.running_var is not None
        assert torch.allclose(mean, layer.running_mean, rtol=0, atol=1e-12)
        assert torch.allclose(var, layer.running_var, rtol=0, atol=1e-12)


def test_layer_norm_is_over_a_samples_channels_and_pixels() -> None:
    """As `torch.nn.functional.layer_norm`, with a factor and a shift for each channel."""

    def change(layer: nn.Module) -> None:
        def forward(x: Tensor) -> Tensor:
            shape = (1, -1) + (1,) * (x.dim() - 2)
            normed = F.layer_norm(x, x.shape[1:])
            return normed * layer.weight.view(shape) + layer.bias.view(shape)  # type: ignore[union-attr, operator]

        layer.forward = forward  # type: ignore[method-assign]

    for data, plain, more in (
        (images(), PlainResNet(8, 8, channels=1, classes=3), {"width": 0.5}),
        (table(), PlainMLP(11, 32, depth=2, classes=3), {"model": "mlp"}),
    ):
        replaced(plain, nn.modules.batchnorm._BatchNorm, change)
        follow(pack(data, config(norm="layer", **more, **EXACT)), plain.double())


def test_filters_are_standardised_where_they_are_used() -> None:
    """Equation 9 of Qiao et al. 2019, in every convolution; weights themselves stay free."""

    def change(layer: nn.Module) -> None:
        assert isinstance(layer, nn.Conv2d)

        def forward(input: Tensor) -> Tensor:
            rows = layer.weight.flatten(1)
            centred = rows - rows.mean(1, keepdim=True)
            size = torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)
            weight = (centred / size).view_as(layer.weight)
            return F.conv2d(input, weight, None, layer.stride, layer.padding)

        layer.forward = forward

    plain = PlainResNet(8, 4, channels=1, classes=3)
    replaced(plain, nn.Conv2d, change)
    follow(pack(images(), config(weight_standardisation=True, **EXACT)), plain.double())


@pytest.mark.parametrize(("width", "channels"), [(0.01, 1), (0.1, 2), (0.15625, 2), (0.2, 3)])
def test_a_narrow_network_has_rounded_channels(width: float, channels: int) -> None:
    """At least one; halves go to even."""
    trainer = pack(images(), config(width=width))
    assert parameters_of(trainer, 0)["stem.weight"].shape[0] == channels
    train_steps(trainer, 1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"ghost_batch": 1}, "train.ghost_batch: 1 leaves nothing for batch norm to average"),
        ({"ghost_batch": 4, "norm": "group"}, "changes nothing under norm: group; use 0"),
        ({"model": "resnet18", "depth": 20}, "train.depth: 20 has no place in model 'resnet18'"),
    ],
)
def test_what_changes_nothing_is_refused(settings: dict[str, Any], reason: str) -> None:
    """The key, and what to use."""
    with pytest.raises(ConfigError, match=reason):
        pack(images(), config(**settings))


def test_a_table_has_no_filters() -> None:
    """The error names the networks that have."""
    reason = "train.weight_standardisation: True has no place in model 'mlp': use False, or one of"
    with pytest.raises(ConfigError, match=reason):
        pack(table(), config(model="mlp", weight_standardisation=True))
