"""Networks for large images against torchvision's, with the same weights, in float64."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
import torchvision
from small_packs import config, images, pack, parameters_of
from torch import Tensor, nn

from trainers.loop import PackTrainer

RESIDUAL = (
    (r"^stem\.norm\.", "bn1."),
    (r"^stem\.", "conv1."),
    (r"^head\.", "fc."),
    (r"^stage(\d)\.", r"layer\1."),
    (r"shortcut\.norm\.", "downsample.1."),
    (r"shortcut\.", "downsample.0."),
    (r"first\.norm\.", "bn1."),
    (r"second\.norm\.", "bn2."),
    (r"third\.norm\.", "bn3."),
    (r"first\.", "conv1."),
    (r"second\.", "conv2."),
    (r"third\.", "conv3."),
)


def agree(trainer: PackTrainer, plain: nn.Module, places: tuple[tuple[str, str], ...]) -> None:
    """The logits and the gradient of every parameter of a batch are those of a plain network."""
    blocks = parameters_of(trainer, 0)
    own = dict(plain.double().named_parameters())
    names = {name: place_of(name, places) for name in blocks}
    assert sorted(names.values()) == sorted(own)
    with torch.no_grad():
        for name, place in names.items():
            own[place].copy_(as_plain(blocks[name], own[place]))
    (batch,) = trainer.feed.batches(0, 1)
    terms = trainer.objective.terms(trainer.pack, batch, moving=False)
    out = plain.train()(batch.x)
    assert torch.allclose(terms.logits[0], out, rtol=1e-9, atol=1e-9)
    (grad,) = torch.autograd.grad(terms.objective, trainer.pack.parameters.flat)
    F.cross_entropy(out, batch.labels[0]).backward()
    layout = trainer.pack.parameters.layout
    shapes = {p.name: p.shape for p in trainer.pack.parameters.specs}
    for name, block in layout.split(grad).items():
        wanted = own[names[name]].grad
        assert wanted is not None
        got = as_plain(block[0].view(shapes[name]), wanted)
        assert float((got - wanted).norm()) <= 1e-7 * float(wanted.norm()) + 1e-9, name


def place_of(name: str, places: tuple[tuple[str, str], ...]) -> str:
    for pattern, place in places:
        name = re.sub(pattern, place, name)
    return name


def as_plain(value: Tensor, like: Tensor) -> Tensor:
    """A parameter of ours in the order of PyTorch's own."""
    if value.dim() == 4 and like.dim() == 4:
        return value.permute(0, 3, 1, 2)
    return (value.T if value.dim() == 2 and like.dim() == 2 else value).reshape(like.shape)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_residual_network_is_torchvisions(name: str) -> None:
    """Under the stem of 7x7 pixels, on images of 32 pixels."""
    data = images(channels=3, pixels=32, train=6)
    settings = {"model": name, "width": 1.0, "batch_size": 3, "precision": "float64"}
    trainer = pack(data, config(**settings, ratio=1.0))
    agree(trainer, getattr(torchvision.models, name)(num_classes=3), RESIDUAL)
