"""Losses against plain loops in float64, and smoothing against its closed form."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers import catalogue
from trainers.config import TrainConfig
from trainers.hyper import Hyper
from trainers.levers import Smoothing
from trainers.losses import Loss, cross_entropies
from trainers.losses.smoothing import smooth_targets, smoothing_by_class

K, B, C = 3, 4, 5
COUNTS = torch.tensor([[400, 100, 25, 5, 1], [80, 40, 20, 10, 5], [7, 7, 7, 7, 7]])


NAMES = sorted(catalogue.entries("loss"))


def loss(name: str, counts: Tensor = COUNTS[:1], **train: Any) -> Loss:
    """A loss of K equal members in float64."""
    members = [TrainConfig(loss=name, **train)] * K
    return catalogue.get("loss", name).load()(Hyper(members, torch.zeros(1).double()), counts)


def pack(seed: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(K, B, C, generator=source, dtype=torch.float64)
    return logits, torch.randint(C, (K, B), generator=source)


def plain_cross_entropy(z: list[float], q: list[float]) -> float:
    total = sum(math.exp(value) for value in z)
    return -sum(share * (value - math.log(total)) for share, value in zip(q, z, strict=True))


def plain_targets(label: int, eps: list[float]) -> list[float]:
    spread = eps[label] / len(eps)
    return [spread + (1 - eps[label] if c == label else 0.0) for c in range(len(eps))]


def plain_log_prior(counts: list[int]) -> list[float]:
    return [math.log(count / sum(counts)) for count in counts]


def test_smoothed_cross_entropy_equals_a_plain_loop() -> None:
    """Each member smooths by its own eps, each sample by that of its own class."""
    logits, labels = pack(0)
    eps = torch.stack(
        [smoothing_by_class(row, Smoothing(minority=0.3, majority=0.05)) for row in COUNTS]
    )
    got = loss("cross_entropy")(logits, smooth_targets(labels, eps), 0.0)
    for k in range(K):
        for b in range(B):
            q = plain_targets(int(labels[k, b]), eps[k].tolist())
            expected = plain_cross_entropy(logits[k, b].tolist(), q)
            assert got[k, b].item() == pytest.approx(expected, rel=1e-12)


def test_logit_adjusted_equals_cross_entropy_of_logits_plus_log_prior() -> None:
    """The prior is n_c over the number of samples."""
    logits, labels = pack(1)
    targets = smooth_targets(labels, torch.full((K, C), 0.1, dtype=torch.float64))
    got = loss("logit_adjusted")(logits, targets, 0.0)
    prior = plain_log_prior(COUNTS[0].tolist())
    for k in range(K):
        for b in range(B):
            z = [a + c for a, c in zip(logits[k, b].tolist(), prior, strict=True)]
            expected = plain_cross_entropy(z, targets[k, b].tolist())
            assert got[k, b].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_hard_labels_give_the_loss_of_unsmoothed_targets(name: str) -> None:
    """The fast path is the same loss and the same gradient, to the last bits of float64."""
    logits, labels = pack(2)
    targets = smooth_targets(labels, torch.zeros(K, C, dtype=torch.float64))
    fast, slow = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    quick = loss(name)(fast, labels, 0.5)
    full = loss(name)(slow, targets, 0.5)
    quick.sum().backward()
    full.sum().backward()
    torch.testing.assert_close(quick, full, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(fast.grad, slow.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_samples_leaves_the_loss_finite(name: str) -> None:
    """ln 0 must not make a NaN out of a target of 0."""
    logits, labels = pack(4)
    counts = torch.tensor([[9, 4, 2, 1, 0]])
    targets = smooth_targets(labels, torch.zeros(K, C, dtype=torch.float64))
    assert loss(name, counts)(logits, targets, 0.5).isfinite().all()
    assert loss(name, counts)(logits, labels, 0.5).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_nan_in_one_member_shows_in_its_loss_alone(name: str) -> None:
    """Divergence must be seen, and must not spread to the rest of the pack."""
    logits, labels = pack(5)
    logits[1, 2, 0] = math.nan
    losses = loss(name)(logits, labels, 0.5)
    assert losses[1, 2].isnan()
    assert losses[[0, 2]].isfinite().all()


def test_gradients_of_the_losses_pass_gradcheck() -> None:
    """Finite differences know nothing of the formula."""
    logits, labels = pack(6)
    targets = smooth_targets(labels, torch.full((K, C), 0.2, dtype=torch.float64))
    leaf = logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: cross_entropies(z, targets), (leaf,))
    assert torch.autograd.gradcheck(lambda z: cross_entropies(z, labels), (leaf,))


def test_smoothing_is_linear_in_the_log_count() -> None:
    """Ten times fewer samples is half way from 1,000 to 10."""
    eps = smoothing_by_class([1000, 100, 10], Smoothing(minority=0.3, majority=0.1))
    torch.testing.assert_close(eps, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))


def test_smoothing_sign_can_be_reversed() -> None:
    """MiSLAS smooths the majority more: minority 0 and majority 0.3 must reach that."""
    eps = smoothing_by_class([1000, 100, 10], Smoothing(minority=0.0, majority=0.3))
    torch.testing.assert_close(eps, torch.tensor([0.3, 0.15, 0.0], dtype=torch.float64))


def test_equal_ends_smooth_uniformly() -> None:
    """minority == majority is ordinary label smoothing, to the bit."""
    assert smoothing_by_class([500, 60, 7], Smoothing(minority=0.1, majority=0.1)).tolist() == [
        0.1,
        0.1,
        0.1,
    ]


def test_equal_classes_take_the_mean_of_both_ends() -> None:
    """Balanced data have no minority; the average smoothing stays what it was beside it."""
    balanced = smoothing_by_class([50, 50, 50], Smoothing(minority=0.3, majority=0.1))
    nearly = smoothing_by_class([1001, 1000, 999], Smoothing(minority=0.3, majority=0.1))
    torch.testing.assert_close(balanced, torch.full((3,), 0.2, dtype=torch.float64))
    assert nearly.mean().item() == pytest.approx(0.2, abs=1e-3)


def test_an_empty_class_takes_the_minority_value() -> None:
    """A class without samples sets no scale for the others."""
    eps = smoothing_by_class([100, 10, 0], Smoothing(minority=0.4, majority=0.0))
    torch.testing.assert_close(eps, torch.tensor([0.0, 0.4, 0.4], dtype=torch.float64))


def test_soft_targets_sum_to_one() -> None:
    """Smoothing moves mass; it makes none."""
    _, labels = pack(7)
    targets = smooth_targets(labels, torch.rand(K, C, generator=torch.Generator().manual_seed(7)))
    torch.testing.assert_close(targets.sum(-1), torch.ones(K, B))
