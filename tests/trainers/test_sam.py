"""SAM-A against two passes written by hand, and against pytorch_optimizer's SAM."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from plain_networks import PlainResNet, difference, load_blocks
from pytorch_optimizer import SAM
from small_packs import apart, config, images, pack, parameters_of, same, train_steps
from torch import Tensor, nn

from trainers.loop import PackTrainer
from trainers.steps import sam

EXACT = {"precision": "float64", "norm_statistics": "running", "width": 0.5}
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.0}


def sharp(**sam: Any) -> PackTrainer:
    """One member of exact arithmetic and no decay at a constant rate."""
    settings = {"schedule": "constant", "sam": sam, "ratio": 0.2, "batch_size": 16}
    return pack(images(train=180), config(**EXACT, **SGD, **settings))


def plain_copy(trainer: PackTrainer) -> PlainResNet:
    plain = PlainResNet(8, 8, channels=1, classes=3).double()
    load_blocks(plain, parameters_of(trainer, 0))
    return plain


def gradient(plain: nn.Module, loss: Tensor, *, again: bool = False) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(plain.parameters()), retain_graph=again))


def length(parts: list[Tensor]) -> Tensor:
    return torch.sqrt(sum(((part**2).sum() for part in parts), torch.tensor(0.0)))


def by_hand(plain: PlainResNet, x: Tensor, y: Tensor, counts: Tensor, **sam: Any) -> None:
    """Sets `grad` to the gradient of the plain loss where SAM-A's ascent leads."""
    a = (counts.max() / counts) ** sam["asymmetry"]
    losses = F.cross_entropy(plain(x), y, reduction="none")
    g = gradient(plain, losses.mean(), again=True)
    if sam["normaliser"] == "weighted":
        tilted = gradient(plain, (a[y] * losses).sum() / a[y].sum())
        factor = sam["radius"] / (length(tilted) + 1e-12)
    else:
        a = a * counts.sum() / (a * counts).sum()
        tilted = gradient(plain, (a[y] * losses).mean())
        factor = sam["radius"] / (length(g) + 1e-12)
        factor = min(factor, 5 * sam["radius"] / (length(tilted) + 1e-12))
    with torch.no_grad():
        for p, t in zip(plain.parameters(), tilted, strict=True):
            p += factor * t
    momenta = [m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in momenta:
        norm.momentum = 0.0
    descent = gradient(plain, F.cross_entropy(plain(x), y))
    for norm in momenta:
        norm.momentum = 0.1
    with torch.no_grad():
        for p, t, d in zip(plain.parameters(), tilted, descent, strict=True):
            p -= factor * t
            p.grad = d


@pytest.mark.parametrize("normaliser", ["weighted", "plain"])
@pytest.mark.parametrize("asymmetry", [0.0, 0.5, 1.0])
def test_steps_are_those_of_two_passes_by_hand(normaliser: str, asymmetry: float) -> None:
    """Weights and running statistics after five updates are those of the plain double loop."""
    sam = {"radius": 0.1, "asymmetry": asymmetry, "normaliser": normaliser}
    trainer = sharp(**sam)
    plain = plain_copy(trainer)
    counts = torch.tensor(trainer.counts, dtype=torch.float64)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for batch in train_steps(trainer, 5):
        by_hand(plain, batch.x, batch.labels[0], counts, **sam)
        optimizer.step()
    assert difference(plain, parameters_of(trainer, 0)) < 1e-10
    means, variances = trainer.pack.statistics.views["stage2.0.first.norm"]
    norm = plain.get_submodule("blocks.stage2_0.first_norm")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(means, norm.running_mean, atol=1e-12)
    assert torch.allclose(variances, norm.running_var, atol=1e-12)


def test_without_asymmetry_it_is_the_sam_of_pytorch_optimizer() -> None:
    """An independent implementation takes the same five updates."""
    trainer = sharp(radius=0.1)
    plain = plain_copy(trainer)
    optimizer = SAM(plain.parameters(), torch.optim.SGD, rho=0.1, lr=0.05, momentum=0.9)
    for batch in train_steps(trainer, 5):
        F.cross_entropy(plain(batch.x), batch.labels[0]).backward()
        optimizer.first_step(zero_grad=True)
        F.cross_entropy(plain(batch.x), batch.labels[0]).backward()
        optimizer.second_step(zero_grad=True)
    assert difference(plain, parameters_of(trainer, 0)) < 1e-8


@pytest.mark.parametrize("normaliser", ["weighted", "plain"])
def test_asymmetry_zero_is_sam_to_the_bit(normaliser: str) -> None:
    """The weighted ascent with equal weights rounds like the unweighted mean, in float32 too."""
    settings = config(sam={"radius": 0.1, "normaliser": normaliser}, augmentation="mixup")
    trainer, plain = pack(images(), settings), pack(images(), settings)
    assert isinstance(plain.method, sam.SAMStep)
    plain.method.mean_loss = lambda losses, weights: losses.mean(1)  # type: ignore[method-assign]
    train_steps(trainer, 5)
    train_steps(plain, 5)
    assert same(parameters_of(trainer, 0), parameters_of(plain, 0))


def test_radius_zero_is_sgd_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without a radius is the run without SAM to the bit, and makes no second pass."""
    zero = pack(images(), config(sam={"radius": 0.0, "asymmetry": 1.0}))
    plain = pack(images(), config())
    passes = []
    terms = zero.objective.terms
    monkeypatch.setattr(zero.objective, "terms", lambda *a, **k: passes.append(1) or terms(*a, **k))
    train_steps(zero, 4)
    train_steps(plain, 4)
    assert same(parameters_of(zero, 0), parameters_of(plain, 0))
    assert len(passes) == 4


def test_a_batch_of_equal_classes_is_plain_sam() -> None:
    """Class weights tilt the direction only where classes of a batch differ in size."""
    flat = {"ratio": 1.0, "precision": "float64"}
    tilted = pack(images(), config(sam={"radius": 0.1, "asymmetry": 1.0}, **flat))
    plain = pack(images(), config(sam={"radius": 0.1}, **flat))
    train_steps(tilted, 3)
    train_steps(plain, 3)
    assert apart(parameters_of(tilted, 0), parameters_of(plain, 0)) < 1e-12


@pytest.mark.parametrize("mixer", ["mixup", "cutmix"])
def test_a_mixed_sample_weighs_what_its_labels_weigh(mixer: str) -> None:
    """Its ascent weight is the mean of a of its two labels, by the share that each keeps."""
    trainer = pack(
        images(), config(sam={"radius": 0.1, "asymmetry": 1.0}, augmentation=mixer, ratio=0.2)
    )
    counts = torch.tensor(trainer.counts, dtype=torch.float32)
    for batch in trainer.feed.batches(0, 4):
        expected = batch.targets[0] @ (counts.max() / counts)
        assert torch.allclose(batch.of_samples[sam.ASCENT][0], expected, rtol=1e-5)


def test_the_second_pass_leaves_running_statistics_alone() -> None:
    """After one update they are those of the first pass: SGD's own, to the bit."""
    settings: dict[str, Any] = {"norm_statistics": "running"}
    sam = pack(images(), config(sam={"radius": 0.5}, **settings))
    sgd = pack(images(), config(**settings))
    train_steps(sam, 1)
    train_steps(sgd, 1)
    assert torch.equal(sam.pack.statistics.mean, sgd.pack.statistics.mean)
    assert torch.equal(sam.pack.statistics.var, sgd.pack.statistics.var)


def test_the_plain_ascent_is_at_most_five_radii_long() -> None:
    """Where the weighted gradient is a hundred times the plain one, the step is cut."""
    trainer = sharp(radius=0.1, asymmetry=1.0, normaliser="plain")
    assert isinstance(trainer.method, sam.SAMStep)
    home = trainer.pack.parameters.data.clone()
    plain_gradient = torch.ones_like(home)
    trainer.method._climb(trainer.pack.parameters, 100 * plain_gradient, plain_gradient)
    moved = (trainer.pack.parameters.data - home).norm()
    assert float(moved) == pytest.approx(0.5)
