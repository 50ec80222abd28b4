"""Fused layers: K = 1 is the ordinary network, and K members are K ordinary networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from plain_networks import PlainMLP, PlainResNet, difference, load_blocks
from small_packs import apart, config, images, pack, parameters_of, same, table, train_steps
from torch import nn

from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.forms import FORMS
from trainers.layout import Layout
from trainers.models.layers import groups_of
from trainers.models.resnet import ResNet
from trainers.parameters import draw_parameters

TOLERANCE = 1e-11
RESNETS = [
    pytest.param({"depth": 8, "width": 0.5}, 8, 1, id="ResNet-8"),
    pytest.param({"depth": 14, "width": 0.25}, 28, 1, id="ResNet-14 at 28x28"),
    pytest.param({"depth": 10, "width": 0.5}, 32, 3, id="WideResNet-10 at 32x32"),
]


def exact(**train: Any):
    return config(precision="float64", norm_statistics="running", **train)


def plain_resnet(train: dict[str, Any], channels: int) -> nn.Module:
    base = max(1, round(16 * train["width"]))
    return PlainResNet(train["depth"], base, channels=channels, classes=3).double()


@pytest.mark.parametrize(("train", "pixels", "channels"), RESNETS)
def test_one_member_is_the_ordinary_network(
    train: dict[str, Any], pixels: int, channels: int
) -> None:
    """Outputs and gradients of K = 1 are those of nn.Conv2d, nn.BatchNorm2d and nn.Linear."""
    trainer = pack(images(channels=channels, pixels=pixels), exact(**train))
    plain = plain_resnet(train, channels)
    load_blocks(plain, parameters_of(trainer, 0))
    batch = next(trainer.feed.batches(0, 1))
    logits = trainer.pack.logits(batch.x, moving=False)
    expected = plain(batch.x)
    assert torch.allclose(logits[0], expected, rtol=0, atol=TOLERANCE)
    F.cross_entropy(logits[0], batch.labels[0]).backward()
    F.cross_entropy(expected, batch.labels[0]).backward()
    grad = trainer.pack.parameters.flat.grad
    assert grad is not None
    blocks = trainer.pack.parameters.layout.split(grad)
    shapes = trainer.pack.parameters.blocks()
    ours = {n: blocks[n].view(shapes[n].shape)[0] for n in blocks}
    for parameter in plain.parameters():
        assert parameter.grad is not None
        parameter.data.copy_(parameter.grad)
    assert difference(plain, ours) < TOLERANCE


@pytest.mark.parametrize("network", ["resnet", "mlp"])
def test_one_member_trains_like_the_ordinary_network(network: str) -> None:
    """After several updates, weights, running statistics and evaluation still agree."""
    train = {"depth": 8, "width": 0.5} if network == "resnet" else {"model": "mlp", "width": 0.25}
    trainer = pack(images() if network == "resnet" else table(), exact(**train))
    plain = (
        plain_resnet(train, 1)
        if network == "resnet"
        else PlainMLP(4 + 3 + 4, 32, depth=2, classes=3).double()
    )
    load_blocks(plain, parameters_of(trainer, 0))
    decayed = [p for p in plain.parameters() if p.dim() > 1]
    rest = [p for p in plain.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    total = trainer.steps
    for step, batch in enumerate(train_steps(trainer, 6)):
        x = batch.x if network == "resnet" else batch.x[0]
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * step / total))
        optimizer.zero_grad()
        F.cross_entropy(plain(x), batch.labels[0]).backward()
        optimizer.step()
    assert difference(plain, parameters_of(trainer, 0)) < TOLERANCE
    logits = trainer.evaluate()["val"][0]
    x = next(trainer.split_batches("val"))[1]
    with torch.no_grad():
        expected = plain.eval()(x if network == "resnet" else x[0])
    assert torch.allclose(logits, expected, rtol=0, atol=1e-10)


PACKS = [
    pytest.param({}, id="sgd"),
    pytest.param({"norm": "group", "nesterov": True}, id="group norm"),
    pytest.param({"norm": "none", "depth": 10}, id="no norm, preactivation"),
    pytest.param({"optimizer": "adamw", "loss": "logit_adjusted"}, id="adamw"),
    pytest.param({"sam": {"radius": 0.1, "asymmetry": 1.0}}, id="sam-a"),
    pytest.param({"sam": {"radius": 0.1, "asymmetry": 0.5, "normaliser": "plain"}}, id="sam-a p"),
    pytest.param({"ssl": {"weight": 0.3, "batch_multiple": 2}}, id="ssl"),
    pytest.param({"augmentation": "flip_crop+cutmix"}, id="cutmix"),
]


@pytest.mark.parametrize("train", PACKS)
def test_a_pack_of_five_takes_the_steps_of_five_runs(train: dict[str, Any]) -> None:
    """Fusing changes where numbers lie, not what they are."""
    data, one = images(), exact(**train)
    together = pack(data, *[one] * 5)
    train_steps(together, 1)
    for replicate in range(5):
        alone = pack(data, one, replicates=(replicate,))
        train_steps(alone, 1)
        assert apart(parameters_of(together, replicate), parameters_of(alone, 0)) < TOLERANCE


def test_members_that_differ_take_each_their_own_step() -> None:
    """Every field that may differ within a pack is followed member by member."""
    data = images()
    configs = [
        exact(
            lr=0.02 * (i + 1),
            weight_decay=0.01 * i,
            momentum=0.3 * i,
            smoothing={"minority": 0.1 * i, "majority": 0.05},
            ssl={"weight": 0.1 + i},
            sam={"radius": 0.05 + 0.1 * i, "asymmetry": 0.5 * i},
        )
        for i in range(3)
    ]
    together = pack(data, *configs, replicates=(0, 0, 1))
    train_steps(together, 2)
    for member, replicate in enumerate((0, 0, 1)):
        alone = pack(data, configs[member], replicates=(replicate,))
        train_steps(alone, 2)
        assert apart(parameters_of(together, member), parameters_of(alone, 0)) < 1e-9


@pytest.mark.parametrize("augmentation", ["none", "mixup"])
def test_a_member_without_smoothing_is_not_smoothed_by_its_neighbours(augmentation: str) -> None:
    """Soft targets of a whole pack are one-hot for the member that does not smooth."""
    data = images()
    configs = [exact(augmentation=augmentation, smoothing=s) for s in ({}, {"minority": 0.3})]
    together = pack(data, *configs, replicates=(0, 0))
    train_steps(together, 2)
    for member in (0, 1):
        alone = pack(data, configs[member])
        train_steps(alone, 2)
        assert apart(parameters_of(together, member), parameters_of(alone, 0)) < TOLERANCE


def test_a_pack_of_tables_takes_the_steps_of_its_runs() -> None:
    """Tables keep (K, B, F) and batched products; the members stay apart there too."""
    one = exact(model="mlp", augmentation="mixup", ssl={"weight": 0.2})
    together = pack(table(), one, one, one)
    train_steps(together, 2)
    for replicate in range(3):
        alone = pack(table(), one, replicates=(replicate,))
        train_steps(alone, 2)
        assert apart(parameters_of(together, replicate), parameters_of(alone, 0)) < 1e-10


def count_parameters(channels: int, classes: int = 10, **train: Any) -> int:
    blueprint = Blueprint()
    settings = TrainConfig(**train)
    ResNet(blueprint, settings, inputs=(channels, 8, 8), classes=classes)
    return sum(math.prod(p.shape) for p in blueprint.parameters)


@pytest.mark.parametrize(
    ("channels", "groups"), [(2, 1), (4, 1), (8, 2), (14, 2), (16, 4), (24, 6), (32, 8), (640, 8)]
)
def test_group_norms_have_groups_of_four_channels_at_least(channels: int, groups: int) -> None:
    """A norm leaves only the signs of one or two numbers: a narrow network could not learn."""
    assert groups_of(channels) == groups


@pytest.mark.parametrize("shape", [(6, 8, 5, 5), (6, 8)])
def test_group_norm_is_that_of_each_member_alone(shape: tuple[int, ...]) -> None:
    """Images and columns of tables: no group reaches over two members."""
    source = torch.Generator().manual_seed(0)
    x = torch.randn(3, *shape, generator=source, dtype=torch.float64)
    weight, bias = torch.randn(2, 3, 8, generator=source, dtype=torch.float64)
    form = FORMS["folded"]
    inner = form.images(x.transpose(0, 1)) if x.dim() == 5 else x
    got = form.group_norm(inner, weight.flatten(), bias.flatten(), members=3, groups=2)
    got = got.unflatten(1, (3, 8)).transpose(0, 1) if x.dim() == 5 else got
    for k in range(3):
        norm = nn.GroupNorm(2, 8, dtype=torch.float64)
        norm.weight.data, norm.bias.data = weight[k], bias[k]
        assert torch.allclose(got[k], norm(x[k]), rtol=0, atol=1e-12)


def test_known_networks_have_their_known_size() -> None:
    """ResNet-8 as measured, ResNet-20 with projections, WideResNet-28-10 and 16-8 as published."""
    assert count_parameters(1, depth=8) == 77_754
    assert count_parameters(3, depth=20) == 272_474
    assert count_parameters(3, depth=28, width=10.0) == 36_479_194
    assert count_parameters(3, depth=16, width=8.0) == 10_961_370


def test_all_parameters_are_one_leaf() -> None:
    """The views that layers use are the flat tensor's own memory."""
    trainer = pack(images(), config(), config())
    flat = trainer.pack.parameters.flat
    start, end = flat.data_ptr(), flat.data_ptr() + flat.numel() * flat.element_size()
    assert flat.is_leaf
    assert flat.numel() == 2 * trainer.pack.parameters.count
    assert all(start <= view.data_ptr() < end for view in trainer.pack.parameters.views.values())


@pytest.mark.parametrize("width", [0.25, 0.3, 1.0])
@pytest.mark.parametrize("batch", [2, 40])
def test_a_nan_of_one_member_stays_with_it(width: float, batch: int) -> None:
    """ReLU passes it on to the member's logits, and no kernel adds up over members."""
    trainer = pack(images(), *[config(width=width, batch_size=batch, ratio=1.0)] * 3)
    healthy = pack(images(), *[config(width=width, batch_size=batch, ratio=1.0)] * 3)
    trainer.pack.parameters.blocks()["stem.weight"][1] = float("nan")
    (seen,) = train_steps(trainer, 1)
    train_steps(healthy, 1)
    logits = trainer.pack.logits(seen.x, moving=False)
    assert logits[1].isnan().all()
    assert same(parameters_of(trainer, 0), parameters_of(healthy, 0))
    assert same(parameters_of(trainer, 2), parameters_of(healthy, 2))


def test_a_small_batch_takes_the_other_kernels_and_the_same_step() -> None:
    """Which library computes is a matter of speed; the switch is put back."""
    one = config(width=0.5, batch_size=4)
    native, usual = pack(images(), one, one), pack(images(), one, one)
    batch = next(native.feed.batches(0, 1))
    with FORMS["folded"].backend(batch.x, 2):
        assert not torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled
    native.update(batch)
    assert torch.backends.mkldnn.enabled
    large = torch.zeros(64, 2, 8, 8)
    with FORMS["folded"].backend(large, 2):
        assert torch.backends.mkldnn.enabled
        terms = usual.objective.terms(usual.pack, batch, moving=False)
    grad = usual._passes.gradient(terms.objective)
    usual.optimizer.update(grad, step=0, share=1.0)
    assert apart(parameters_of(native, 0), parameters_of(usual, 0)) < 1e-5


def test_a_draw_depends_on_the_name_and_the_replicate_alone() -> None:
    """Start values are the same in any pack, at any batch size, in any company."""
    data = images()
    alone = parameters_of(pack(data, config(), replicates=(4,)), 0)
    other = config(batch_size=2, lr=0.3)
    packed = parameters_of(pack(data, other, other, replicates=(1, 4)), 1)
    assert same(alone, packed)


def test_each_replicate_starts_from_a_network_of_its_own() -> None:
    """Initialisation is part of what replicates repeat; equal replicates start alike."""
    settings = config()
    trainer = pack(images(), settings, settings, settings, replicates=(0, 1, 0))
    first, second, again = (parameters_of(trainer, member) for member in range(3))
    drawn = [name for name in first if name.endswith("weight") and "norm" not in name]
    assert not any(torch.equal(first[name], second[name]) for name in drawn)
    assert same(first, again)


def test_a_projector_leaves_the_backbone_as_drawn() -> None:
    """With and without SSL a run starts from the same network."""
    plain = parameters_of(pack(images(), config()), 0)
    joint = parameters_of(pack(images(), config(ssl={"weight": 1.0})), 0)
    assert set(joint) > set(plain)
    assert same(plain, {name: joint[name] for name in plain})


def test_start_values_have_their_scale() -> None:
    """Convolutions start with variance 2 / fan-in, norms as the identity, biases at 0."""
    blueprint = Blueprint()
    ResNet(blueprint, TrainConfig(width=2.0), inputs=(3, 32, 32), classes=10)
    drawn = draw_parameters(
        blueprint, [0], fingerprint="x", form=FORMS["folded"],
        device=torch.device("cpu"), dtype=torch.float32,
    ).blocks()  # fmt: skip
    weight = drawn["stage2.0.second.weight"]
    assert float(weight.var()) == pytest.approx(2 / (9 * 64), rel=0.05)
    assert bool((drawn["stem.norm.weight"] == 1).all())
    assert bool((drawn["head.bias"] == 0).all())


def test_layout_agrees_with_a_loop_over_members() -> None:
    """Norms, factors, spreading and selecting by groups of equal blocks are the plain thing."""
    layout = Layout(3, {"a": 4, "b": 4, "c": 5})
    flat = torch.from_numpy(np.random.default_rng(0).normal(size=layout.total))
    factors = torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64)
    own = [torch.cat([b[k] for b in layout.split(flat).values()]) for k in range(3)]
    assert torch.allclose(layout.norms(flat), torch.stack([o.norm() for o in own]))
    scaled = layout.split(layout.scale_(flat.clone(), factors))
    spread = layout.split(layout.spread(factors))
    chosen = Layout(2, layout.sizes).split(layout.select(flat, [2, 0]))
    for k in range(3):
        assert torch.equal(torch.cat([b[k] for b in scaled.values()]), own[k] * factors[k])
        assert all(bool((b[k] == factors[k]).all()) for b in spread.values())
    for place, k in enumerate((2, 0)):
        assert torch.equal(torch.cat([b[place] for b in chosen.values()]), own[k])
