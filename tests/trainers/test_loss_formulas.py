"""Each loss, weight and smoothing against its published formula, sample by sample in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from small_packs import config, images, pack, parameters_of, same, train_steps
from torch import Tensor

from trainers import catalogue
from trainers.config import TrainConfig
from trainers.hyper import Hyper
from trainers.levers import ClassWeights, Smoothing
from trainers.losses.smoothing import smooth_targets, smoothed_shares, smoothing_by_class
from trainers.losses.weights import class_weights

COUNTS = [400, 100, 25, 5]
N, B, C = sum(COUNTS), 6, 4


def members(*trains: dict[str, Any]) -> tuple[Hyper, Tensor, Tensor]:
    """Settings of K members in float64, logits (K, B, C) and labels (K, B)."""
    source = torch.Generator().manual_seed(3)
    hyper = Hyper([TrainConfig(**train) for train in trains], torch.zeros(1).double())
    logits = 3 * torch.randn(len(trains), B, C, generator=source, dtype=torch.float64)
    return hyper, logits, torch.randint(C, (len(trains), B), generator=source)


def found(hyper: Hyper, logits: Tensor, labels: Tensor) -> Tensor:
    made = catalogue.get("loss", hyper.first.loss).load()
    return made(hyper, torch.tensor([COUNTS]))(logits, labels, 0.0)


def entropy(z: list[float], y: int) -> float:
    return math.log(sum(math.exp(value) for value in z)) - z[y]


def expect(logits: Tensor, labels: Tensor, got: Tensor, rule: Any) -> None:
    """`rule(member, logits, label)` is the formula of one sample."""
    for k in range(len(logits)):
        for b in range(B):
            expected = rule(k, logits[k, b].tolist(), int(labels[k, b]))
            assert got[k, b].item() == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_focal_is_its_equation() -> None:
    """(1 - p_y)^gamma (-ln p_y), each member with its own gamma (Lin et al. 2017, 4)."""
    gammas = [0.0, 0.5, 2.0]
    hyper, logits, labels = members(*({"loss": "focal", "focal": {"gamma": g}} for g in gammas))

    def rule(k: int, z: list[float], y: int) -> float:
        lost = entropy(z, y)
        return (1 - math.exp(-lost)) ** gammas[k] * lost

    expect(logits, labels, found(hyper, logits, labels), rule)


def test_focal_stays_finite_where_the_answer_is_sure() -> None:
    """In float32 a probability rounds to 1, where a power below 1 has no slope."""
    hyper = Hyper([TrainConfig(loss="focal", focal={"gamma": 0.5})], torch.zeros(1))  # type: ignore[call-arg]
    logits = torch.tensor([[[60.0, 0.0, 0.0, 0.0]]], requires_grad=True)
    loss = found(hyper, logits, torch.tensor([[0]]))
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert grad.isfinite().all()


def test_ldam_is_its_equation() -> None:
    """CE(z - s m_y onehot_y), m_c = C n_c^(-1/4) with the largest 0.5 (Cao et al. 2019, 13)."""
    margins = [0.5, 0.2]
    trains = [{"loss": "ldam", "head": "cosine", "ldam": {"margin": m}} for m in margins]
    hyper, logits, labels = members(*trains)
    scale = max(n**-0.25 for n in COUNTS)

    def rule(k: int, z: list[float], y: int) -> float:
        shifted = list(z)
        shifted[y] -= 30.0 * margins[k] * COUNTS[y] ** -0.25 / scale
        return entropy(shifted, y)

    expect(logits, labels, found(hyper, logits, labels), rule)


def test_logit_adjustment_takes_tau() -> None:
    """CE(z + tau ln(n_c / N)), each member with its own tau (Menon et al. 2021, 10)."""
    taus = [0.0, 1.0, 1.7]
    trains = [{"loss": "logit_adjusted", "logit_adjusted": {"tau": tau}} for tau in taus]
    hyper, logits, labels = members(*trains)

    def rule(k: int, z: list[float], y: int) -> float:
        moved = [v + taus[k] * math.log(n / N) for v, n in zip(z, COUNTS, strict=True)]
        return entropy(moved, y)

    expect(logits, labels, found(hyper, logits, labels), rule)


def test_vector_scaling_is_its_equation() -> None:
    """CE(z / D + tau ln pi), D_c = (n_max / n_c)^gamma (Kini et al. 2021, 2)."""
    settings = [(0.3, 1.0), (0.0, 0.5), (0.7, 0.0)]
    hyper, logits, labels = members(
        *({"loss": "vs", "vs": {"gamma": gamma, "tau": tau}} for gamma, tau in settings)
    )

    def rule(k: int, z: list[float], y: int) -> float:
        gamma, tau = settings[k]
        pairs = zip(z, COUNTS, strict=True)
        moved = [v / (400 / n) ** gamma + tau * math.log(n / N) for v, n in pairs]
        return entropy(moved, y)

    expect(logits, labels, found(hyper, logits, labels), rule)


@pytest.mark.parametrize(
    ("by", "weight"),
    [
        ("none", lambda n: 1.0),
        ("inverse", lambda n: 1 / n),
        ("sqrt", lambda n: n**-0.5),
        ("effective", lambda n: (1 - 0.999) / (1 - 0.999**n)),
    ],
)
def test_class_weights_are_the_published_ones_with_mean_one(by: str, weight: Any) -> None:
    """Ratios between classes are those of the formula; the mean over the samples is 1."""
    got = class_weights(ClassWeights(by=by, beta=0.999), COUNTS).tolist()  # type: ignore[arg-type]
    for one, n in zip(got, COUNTS, strict=True):
        assert one / got[0] == pytest.approx(weight(n) / weight(COUNTS[0]), rel=1e-12)
    assert sum(one * n for one, n in zip(got, COUNTS, strict=True)) / N == pytest.approx(1.0)


def test_the_sine_rule_is_that_of_mislas() -> None:
    """e_t + (e_h - e_t) sin(pi (n_c - n_min) / (2 (n_max - n_min))) (Zhong et al. 2021, 6)."""
    got = smoothing_by_class(COUNTS, Smoothing(minority=0.0, majority=0.4, rule="sine"))
    for one, n in zip(got.tolist(), COUNTS, strict=True):
        expected = 0.4 * math.sin(math.pi * (n - 5) / (2 * (400 - 5)))
        assert one == pytest.approx(expected, abs=1e-12)


def test_the_smoothed_share_can_go_to_classes_by_inverse_size() -> None:
    """q = (1 - eps_y) onehot(y) + eps_y u, with u_c proportional to 1 / n_c."""
    config = Smoothing(minority=0.3, majority=0.1, spread="inverse")
    shares = smoothed_shares(COUNTS, config)
    assert shares is not None
    eps = smoothing_by_class(COUNTS, config)
    got = smooth_targets(torch.arange(C)[None], eps[None], shares)[0]
    inverse = [1 / n for n in COUNTS]
    for y in range(C):
        for c in range(C):
            expected = float(eps[y]) * inverse[c] / sum(inverse) + (1 - float(eps[y])) * (c == y)
            assert float(got[y, c]) == pytest.approx(expected, rel=1e-12)


def test_logit_adjustment_after_training_moves_only_the_evaluated_logits() -> None:
    """z - tau ln(n_c / N) on val and test; the weights are those of the run without it."""
    adjusted = pack(images(), config(ratio=0.2), config(ratio=0.2, post_hoc_tau=1.5))
    together = pack(images(), config(ratio=0.2), config(ratio=0.2))
    for trainer in (adjusted, together):
        train_steps(trainer, 4)
    for member in range(2):
        assert same(parameters_of(adjusted, member), parameters_of(together, member))
    prior = [math.log(n / sum(adjusted.counts)) for n in adjusted.counts]
    moved, still = adjusted.evaluate(), together.evaluate()
    for split, logits in moved.items():
        assert torch.equal(logits[0], still[split][0])
        expected = still[split][1] - 1.5 * torch.tensor(prior)
        torch.testing.assert_close(logits[1], expected)
