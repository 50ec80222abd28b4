"""Each newer SSL objective against its published formula, in plain loops and float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_packs import config, images, pack, table, train_steps
from torch import Tensor

from trainers import catalogue
from trainers.blueprint import Blueprint
from trainers.config import TrainConfig
from trainers.hyper import Hyper
from trainers.loop import PackTrainer
from trainers.ssl import Entrance, SSLObjective
from trainers.ssl.barlow import barlow
from trainers.ssl.byol import apart
from trainers.ssl.masked import masks, patches
from trainers.ssl.scarf import info_nce

K = 3
LAMBDAS = torch.tensor([0.0051, 0.0, 1.0], dtype=torch.float64)
TAUS = torch.tensor([1.0, 0.2, 3.0], dtype=torch.float64)
# Losses of two projections (K, n, d).
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "barlow": lambda u, v: barlow(u, v, LAMBDAS),
    "byol": apart,
    "info_nce": lambda u, v: info_nce(u, v, TAUS),
}


def projections(seed: int, n: int, d: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    u, v = torch.randn(2, K, n, d, generator=source, dtype=torch.float64)
    return u, 0.5 * u + v


def uniforms(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(inputs: tuple[int, ...], **train: Any) -> tuple[SSLObjective, Hyper]:
    """The objective of a configuration, and its settings."""
    one = TrainConfig(**train)
    objective = catalogue.get("ssl", one.ssl.loss).load()
    hyper = Hyper([one], torch.zeros(1).double())
    return objective(Blueprint(), one, width=5, inputs=inputs), hyper


# --- formulas of two projections


def plain_barlow(u: np.ndarray, v: np.ndarray, weight: float) -> float:
    """Equations 1 and 2, entry by entry, of columns normalised with PyTorch's epsilon."""
    n, d = u.shape

    def normal(z: np.ndarray) -> list[list[float]]:
        columns = []
        for j in range(d):
            mean = sum(z[i, j] for i in range(n)) / n
            var = sum((z[i, j] - mean) ** 2 for i in range(n)) / n
            columns.append([(z[i, j] - mean) / math.sqrt(var + 1e-5) for i in range(n)])
        return columns

    a, b, total = normal(u), normal(v), 0.0
    for i in range(d):
        for j in range(d):
            c = sum(x * y for x, y in zip(a[i], b[j], strict=True)) / n
            total += (1 - c) ** 2 if i == j else weight * c**2
    return total


def plain_byol(p: np.ndarray, z: np.ndarray) -> float:
    """Equation 2: the mean square distance of the normalised vectors."""
    total = 0.0
    for one, other in zip(p, z, strict=True):
        gap = one / math.sqrt(sum(one**2)) - other / math.sqrt(sum(other**2))
        total += sum(gap**2)
    return total / len(p)


def plain_info_nce(u: np.ndarray, v: np.ndarray, tau: float) -> float:
    """Algorithm 1 of SCARF: row i must find copy i among all copies."""

    def score(i: int, j: int) -> float:
        length = math.sqrt(sum(u[i] ** 2)) * math.sqrt(sum(v[j] ** 2))
        return math.exp(sum(u[i] * v[j]) / length / tau)

    n = len(u)
    return sum(-math.log(score(i, i) / sum(score(i, j) for j in range(n))) for i in range(n)) / n


ORACLES: dict[str, Callable[[np.ndarray, np.ndarray, int], float]] = {
    "barlow": lambda u, v, k: plain_barlow(u, v, float(LAMBDAS[k])),
    "byol": lambda u, v, k: plain_byol(u, v),
    "info_nce": lambda u, v, k: plain_info_nce(u, v, float(TAUS[k])),
}


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize(("n", "d"), [(2, 6), (5, 3), (7, 7)])
def test_a_loss_equals_its_formula_for_each_member(name: str, n: int, d: int) -> None:
    """One number a member, from its own samples and its own parameters alone."""
    u, v = projections(0, n, d)
    expected = [ORACLES[name](u[k].numpy(), v[k].numpy(), k) for k in range(K)]
    assert LOSSES[name](u, v).tolist() == pytest.approx(expected, rel=1e-12)


def test_barlow_normalises_as_batch_norm_does() -> None:
    """The authors' code: torch's batch norm without scale, c = u^T v / n."""
    u, v = projections(1, 6, 4)
    for k in range(K):
        norm = torch.nn.BatchNorm1d(4, affine=False).double()
        c = norm(u[k]).T @ norm(v[k]) / 6
        off = c.clone().fill_diagonal_(0.0)
        expected = (c.diagonal() - 1).pow(2).sum() + LAMBDAS[k] * off.pow(2).sum()
        torch.testing.assert_close(barlow(u, v, LAMBDAS)[k], expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradients_pass_gradcheck(name: str) -> None:
    """Finite differences know nothing of the formula."""
    u, v = (p.requires_grad_() for p in projections(2, 4, 5))
    assert torch.autograd.gradcheck(lambda a, b: LOSSES[name](a, b), (u, v))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_nan_stays_in_its_member(name: str) -> None:
    """A diverged member must show, and must not spread."""
    u, v = projections(3, 4, 5)
    u[1, 0, 0] = math.nan
    assert LOSSES[name](u, v).isnan().tolist() == [False, True, False]


def test_barlow_of_a_collapsed_network_stays_finite() -> None:
    """Without variance the correlations are 0: each dimension costs 1."""
    u = torch.ones(1, 4, 8, requires_grad=True)
    loss = barlow(u, u, torch.ones(1))
    loss.sum().backward()
    assert loss.item() == pytest.approx(8.0)
    assert u.grad is not None
    assert u.grad.isfinite().all()


# --- BYOL: the target network


def byol(**train: Any) -> PackTrainer:
    settings = {"ssl": {"weight": 0.5, "loss": "byol"}, "precision": "float64"}
    return pack(images(), config(**settings | train), config(**settings | train | {"lr": 0.02}))


def target(trainer: PackTrainer) -> Tensor:
    return trainer.objective.memory["target"].tensor


def test_the_target_is_the_average_of_the_weights_by_hand() -> None:
    """target <- tau target + (1 - tau) weights, tau from byol.tau towards 1 by half a cosine."""
    trainer = byol(byol={"tau": 0.9})
    expected, steps = trainer.pack.parameters.data.numpy().copy(), trainer.steps
    assert np.array_equal(target(trainer).numpy(), expected)
    for step in range(5):
        train_steps(trainer, 1)
        tau = 1 - (1 - 0.9) * (math.cos(math.pi * step / steps) + 1) / 2
        expected = tau * expected + (1 - tau) * trainer.pack.parameters.data.numpy()
        assert np.allclose(target(trainer).numpy(), expected, rtol=1e-12, atol=1e-14)
    assert not torch.equal(target(trainer), trainer.pack.parameters.data)


def test_the_loss_compares_predictions_with_the_other_view_of_the_target() -> None:
    """Both orders are added, each member by itself."""
    objective, hyper = made((3, 8, 8), ssl={"loss": "byol"})
    p, q = projections(4, 5, 6)
    s, t = projections(5, 5, 6)
    expected = [
        plain_byol(p[k].numpy(), t[k].numpy()) + plain_byol(q[k].numpy(), s[k].numpy())
        for k in range(K)
    ]
    assert objective.loss((p, q, s, t), (), hyper).tolist() == pytest.approx(expected, rel=1e-12)


def test_the_target_has_no_gradient() -> None:
    """Only predictions lead back to the weights; the target keeps no graph."""
    trainer = byol()
    train_steps(trainer, 2)  # target and weights differ
    batch = next(trainer.feed.batches(2, 3))
    assert batch.views is not None
    *predictions, first, second = trainer.pack.ssl_outputs(batch.views, trainer.objective.memory)
    assert all(one.requires_grad for one in predictions)
    assert not any(one.requires_grad for one in (first, second, target(trainer)))


# --- VIME

VIME_DRAWS = uniforms(7, K, 12, 20)


def vime_views() -> tuple[SSLObjective, Hyper, Tensor, tuple[Tensor, ...]]:
    """Twelve rows, one set of columns a member, whose values are all different."""
    objective, hyper = made((10,), model="mlp", ssl={"loss": "vime"}, vime={"restoration": 2.5})
    rows = torch.arange(K * 12 * 10, dtype=torch.float64).view(K, 12, 10).sin()
    draws = (uniforms(6, K, 12, 20), VIME_DRAWS)
    entrance = Entrance(lambda raw: raw * 2.0, lambda x: x)
    return objective, hyper, rows, objective.views(rows, draws, rows=None, entrance=entrance)


def test_vime_corrupts_a_share_of_the_columns_and_marks_what_has_changed() -> None:
    """3 of 10 columns take a drawn row's value; a column that draws its own row is not marked."""
    _, _, rows, (changed, mask, row) = vime_views()
    assert torch.equal(row, 2.0 * rows)
    draws = VIME_DRAWS.tolist()
    for k in range(K):
        for i in range(12):
            of_columns, of_rows = draws[k][i][:10], draws[k][i][10:]
            chosen = sorted(range(10), key=lambda f: of_columns[f])[:3]
            for f in range(10):
                donor = int(12 * of_rows[f]) if f in chosen else i
                assert changed[k, i, f] == row[k, donor, f]
                assert mask[k, i, f] == float(donor != i)


def test_vime_s_loss_is_cross_entropy_of_the_mask_plus_the_squared_error() -> None:
    """Both are means over the rows and the encoded columns; the weight is a member's own."""
    objective, hyper, _, views = vime_views()
    _, mask, row = views
    source = torch.Generator().manual_seed(8)
    found, restored = torch.randn(2, K, 12, 10, generator=source, dtype=torch.float64)
    got = objective.loss((found, restored), views, hyper)
    for k in range(K):
        entropy = error = 0.0
        for i in range(12):
            for f in range(10):
                p = 1 / (1 + math.exp(-float(found[k, i, f])))
                entropy -= math.log(p if mask[k, i, f] else 1 - p)
                error += float(restored[k, i, f] - row[k, i, f]) ** 2
        assert float(got[k]) == pytest.approx(entropy / 120 + 2.5 * error / 120, rel=1e-12)


def test_vime_s_mask_counts_one_hot_numbers() -> None:
    """A changed category changes two numbers of the encoded row, both in the mask."""
    trainer = pack(table(), config(model="mlp", ssl={"weight": 0.5, "loss": "vime"}))
    seen: set[int] = set()
    for batch in trainer.feed.batches(0, 10):
        assert batch.views is not None
        changed, mask, row = batch.views
        assert torch.equal(mask, (changed != row).float())
        for columns in (slice(4, 7), slice(7, 11)):  # the one-hot numbers of the two categories
            seen |= set(mask[0, :, columns].sum(-1).int().tolist())
    assert seen == {0, 2}


# --- SCARF


def test_scarf_contrasts_the_row_with_a_copy_of_which_sixty_percent_are_drawn() -> None:
    """6 of 10 columns from other rows of the training subset; the first view is the row itself."""
    objective, _ = made((10,), model="mlp", ssl={"loss": "scarf"})
    x, rows = uniforms(9, K, 5, 10), 10 + uniforms(10, K, 30, 10)
    draws = (uniforms(11, K, 5, 20), uniforms(12, K, 5, 20))
    entrance = Entrance(lambda raw: raw, lambda raw: raw)
    row, copy = objective.views(x, draws, rows=rows, entrance=entrance)
    assert torch.equal(row, x)
    assert ((copy != x).sum(-1) == 6).all()
    for k in range(K):
        for f in range(10):
            drawn = copy[k, :, f][copy[k, :, f] != x[k, :, f]]
            assert torch.isin(drawn, rows[k, :, f]).all()


# --- masked reconstruction


@pytest.mark.parametrize("share", [0.01, 0.3, 0.75, 0.99])
@pytest.mark.parametrize("size", [(32, 32), (8, 8), (28, 20), (3, 5)])
def test_masks_cover_a_share_of_whole_patches(share: float, size: tuple[int, int]) -> None:
    """The patches with the smallest draws, rounded to whole patches, at least one."""
    down, along = patches(size[0]), patches(size[1])
    draws = uniforms(13, K, 4, down * along)
    got = masks(draws, share, size)
    assert got.shape == (K, 4, *size)
    number = max(1, round(share * down * along))
    for k in range(K):
        for n in range(4):
            chosen = sorted(range(down * along), key=lambda p: float(draws[k, n, p]))[:number]
            for i in range(size[0]):
                for j in range(size[1]):
                    patch = (i * down // size[0]) * along + j * along // size[1]
                    assert bool(got[k, n, i, j]) == (patch in chosen)


def test_patches_of_a_32_pixel_image_have_four_pixels() -> None:
    """64 patches, of which 48 are masked at the default share."""
    got = masks(uniforms(14, 1, 1, 64), 0.75, (32, 32))[0, 0]
    blocks = got.unflatten(0, (8, 4)).unflatten(2, (8, 4)).double().mean((1, 3))
    assert set(blocks.flatten().tolist()) == {0.0, 1.0}
    assert int(blocks.sum()) == 48


def masked() -> tuple[SSLObjective, Hyper, Tensor, tuple[Tensor, ...]]:
    objective, hyper = made((3, 8, 8), ssl={"loss": "masked"}, masked={"share": 0.5})
    x = uniforms(15, K, 4, 3, 8, 8)
    draws = (uniforms(16, K, 4, 16), uniforms(17, K, 4, 16))
    entrance = Entrance(lambda raw: (raw - 0.3) / 0.2, lambda image: image.transpose(0, 1))
    return objective, hyper, x, objective.views(x, draws, rows=None, entrance=entrance)


def test_the_masked_input_is_the_mean_there_and_the_image_elsewhere() -> None:
    """0 after normalisation in every channel of a masked pixel, in the form's layout."""
    _, _, x, (covered, mask, image) = masked()
    normal = (x - 0.3) / 0.2
    assert torch.equal(image, normal.flatten(2))
    gone = mask.view(K, 4, 3, 8, 8).bool()
    assert torch.equal(gone[:, :, 0], gone[:, :, 2])
    assert gone[:, :, 0].sum((-1, -2)).tolist() == [[32] * 4] * K
    seen = covered.transpose(0, 1)
    assert (seen[gone] == 0.0).all()
    assert torch.equal(seen[~gone], normal[~gone])


def test_masked_pixels_alone_count_in_the_loss() -> None:
    """The mean square error over a member's masked numbers."""
    objective, hyper, _, views = masked()
    _, mask, image = views
    source = torch.Generator().manual_seed(18)
    predicted = torch.randn(image.shape, generator=source, dtype=torch.float64)
    got = objective.loss((predicted,), views, hyper)
    for k in range(K):
        wrong = [
            (float(predicted[k, n, p]) - float(image[k, n, p])) ** 2
            for n in range(4)
            for p in range(image.shape[-1])
            if mask[k, n, p]
        ]
        assert float(got[k]) == pytest.approx(sum(wrong) / len(wrong), rel=1e-12)
    elsewhere = predicted + (1.0 - mask) * 7.0
    assert torch.equal(objective.loss((elsewhere,), views, hyper), got)


@pytest.mark.parametrize("make", [vime_views, masked], ids=["vime", "masked"])
def test_restoring_objectives_have_right_gradients_and_keep_a_nan(make: Any) -> None:
    """Finite differences of the loss in its outputs; a member's NaN stays its own."""
    objective, hyper, _, views = make()
    some = tuple(view.transpose(0, 1)[:, :2] if view.dim() == 5 else view[:, :2] for view in views)
    number = 2 if make is vime_views else 1
    source = torch.Generator().manual_seed(19)
    outputs = tuple(
        torch.randn(some[2].shape, generator=source, dtype=torch.float64, requires_grad=True)
        for _ in range(number)
    )
    assert torch.autograd.gradcheck(lambda *o: objective.loss(o, some, hyper), outputs)
    outputs[0].data[1, 0, :] = math.nan
    assert objective.loss(outputs, some, hyper).isnan().tolist() == [False, True, False]
