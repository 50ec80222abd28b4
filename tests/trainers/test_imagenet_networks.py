"""Networks for large images against torchvision's, with the same weights, in float64."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from small_packs import config, images, pack, parameters_of
from torch import Tensor, nn

from trainers.config import ConfigError
from trainers.loop import PackTrainer

Places = tuple[tuple[str, "str | Callable[[re.Match[str]], str]"], ...]
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


def agree(trainer: PackTrainer, plain: nn.Module, places: Places) -> None:
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
    assert torch.allclose(terms.logits[0], out, rtol=0, atol=1e-9)
    (grad,) = torch.autograd.grad(terms.objective, trainer.pack.parameters.flat)
    F.cross_entropy(out, batch.labels[0]).backward()
    layout = trainer.pack.parameters.layout
    shapes = {p.name: p.shape for p in trainer.pack.parameters.specs}
    for name, block in layout.split(grad).items():
        wanted = own[names[name]].grad
        assert wanted is not None
        got = as_plain(block[0].view(shapes[name]), wanted)
        assert float((got - wanted).norm()) <= 1e-7 * float(wanted.norm()) + 1e-14, name


def place_of(name: str, places: Places) -> str:
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


TRANSFORMER = (
    (r"^token$", "class_token"),
    (r"^positions$", "encoder.pos_embedding"),
    (r"^patches\.", "conv_proj."),
    (r"^block(\d+)\.", r"encoder.layers.encoder_layer_\1."),
    (r"first\.norm\.", "ln_1."),
    (r"second\.norm\.", "ln_2."),
    (r"attention\.qkv\.", "self_attention.in_proj_"),
    (r"attention\.out\.", "self_attention.out_proj."),
    (r"first\.", "mlp.0."),
    (r"second\.", "mlp.3."),
    (r"^last\.norm\.", "encoder.ln."),
    (r"^head\.", "heads.head."),
)
CONVOLUTIONAL = (
    (r"^stem\.norm\.", "features.0.1."),
    (r"^stem\.", "features.0.0."),
    (r"^stage(\d)\.halving\.norm\.", lambda m: f"features.{2 * int(m[1]) - 2}.0."),
    (r"^stage(\d)\.halving\.", lambda m: f"features.{2 * int(m[1]) - 2}.1."),
    (r"^stage(\d)\.(\d)\.scale", lambda m: f"features.{2 * int(m[1]) - 1}.{m[2]}.layer_scale"),
    (r"^stage(\d)\.(\d)\.", lambda m: f"features.{2 * int(m[1]) - 1}.{m[2]}.block."),
    (r"block\.convolution\.", "block.0."),
    (r"block\.norm\.", "block.2."),
    (r"block\.first\.", "block.3."),
    (r"block\.second\.", "block.5."),
    (r"^last\.norm\.", "classifier.0."),
    (r"^head\.", "classifier.2."),
)


def test_a_vision_transformer_is_torchvisions() -> None:
    """Patches of odd size, two blocks of three heads."""
    settings = {"model": "vit", "depth": 2, "width": 0.125, "vit": {"patch": 3}}
    trainer = pack(images(channels=3, pixels=12), config(**settings, precision="float64"))
    plain = torchvision.models.VisionTransformer(
        image_size=12,
        patch_size=3,
        num_layers=2,
        num_heads=3,
        hidden_dim=24,
        mlp_dim=96,
        num_classes=3,
    )
    agree(trainer, plain, TRANSFORMER)


def test_a_convnext_is_torchvisions() -> None:
    """Six blocks in four stages, on images of 33 pixels, whose last row no patch covers."""
    settings = {"model": "convnext", "depth": 6, "width": 0.1, "convnext": {"patch": 4}}
    trainer = pack(images(channels=3, pixels=33), config(**settings, precision="float64"))
    sizes = [(4, 8, 1), (8, 16, 1), (16, 32, 3), (32, None, 1)]
    blocks = [torchvision.models.convnext.CNBlockConfig(*one) for one in sizes]
    plain = torchvision.models.ConvNeXt(blocks, num_classes=3)
    agree(trainer, plain, CONVOLUTIONAL)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": "vit"}, "train.vit.patch: 4 does not fit images of 9x9 pixels: use 1, 3, 9"),
        ({"model": "convnext"}, "train.convnext.patch: 4 does not fit images of 9x9 pixels: use 1"),
        ({"model": "convnext", "depth": 20}, "train.depth: 20 is not a depth .* nearest is 18"),
        ({"model": "vit", "stem": "imagenet"}, "train.stem: 'imagenet' has no place in model"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings: dict[str, Any], reason: str) -> None:
    """The key, and the values that fit."""
    with pytest.raises(ConfigError, match=reason):
        pack(images(pixels=9), config(**settings))
