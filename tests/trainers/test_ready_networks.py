"""Networks of torchvision and timm by name, against the networks themselves."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
import torchvision
from small_packs import config, images, pack, parameters_of, train_steps

from trainers.config import ConfigError

EXACT = {"precision": "float64", "schedule": "constant", "weight_decay": 0.0}


def test_updates_are_those_of_torchvisions_network() -> None:
    """Two updates in float64 with batch norms; the head is the last linear layer."""
    name = "shufflenet_v2_x0_5"
    trainer = pack(images(channels=3, pixels=32), config(model=f"torchvision:{name}", **EXACT))
    plain = torchvision.models.get_model(name, weights=None, num_classes=3).double()
    start = parameters_of(trainer, 0)

    def place(parameter: str) -> str:
        own = parameter.replace("fc.", "head.") if parameter.startswith("fc.") else None
        return f"module.{own or f'body.{parameter}'}"

    assert {place(name) for name, _ in plain.named_parameters()} == start.keys()
    with torch.no_grad():
        for parameter, value in plain.named_parameters():
            value.copy_(start[place(parameter)])
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for batch in train_steps(trainer, 2):
        optimizer.zero_grad()
        F.cross_entropy(plain(batch.x), batch.labels[0]).backward()
        optimizer.step()
    after = parameters_of(trainer, 0)
    for parameter, value in plain.named_parameters():
        assert torch.allclose(value, after[place(parameter)], rtol=0, atol=1e-9), parameter


def test_grey_images_an_ssl_loss_and_dropout_work() -> None:
    """A network with dropout and hardly any depth trains on grey images with SimCLR."""
    settings = {"model": "torchvision:squeezenet1_1", "ssl": {"weight": 0.5}}
    with pytest.raises(ConfigError, match="does not end in a linear layer"):
        pack(images(pixels=32), config(**settings))
    trainer = pack(images(), config(model="torchvision:mnasnet0_5", ssl={"weight": 0.5}))
    train_steps(trainer, 1)
    assert next(trainer.feed.batches(0, 1)).keys is not None
    assert trainer.evaluate()["test"].shape == (1, 15, 3)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("torchvision:resnet19", "the nearest is 'torchvision:resnet18'; there are alexnet,"),
        ("torchvision:NAME", "is not a network of torchvision"),
        ("torchvison:resnet18", "is unknown; the nearest is 'torchvision:NAME'"),
    ],
)
def test_other_names_are_refused(model: str, reason: str) -> None:
    """With the nearest name, and the valid ones."""
    with pytest.raises(ConfigError, match=reason):
        pack(images(channels=3), config(model=model))


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is trained."""
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"needs the package timm: pip install 'sweeper\[timm\]'"):
        pack(images(), config(model="timm:resnet18"))


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_a_network_of_timm_trains(name: str) -> None:
    """For the data's channels, and the data's size where a network has positions."""
    pytest.importorskip("timm", reason="timm is not installed")
    trainer = pack(images(pixels=32), config(model=f"timm:{name}"))
    train_steps(trainer, 1)
    assert trainer.evaluate()["test"].shape == (1, 15, 3)
