"""SSL losses against their formulas as plain loops, and views against torchvision's operations."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_packs import config, images, pack
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from trainers.image_ops import hue, jitter
from trainers.ssl.simclr import simclr
from trainers.ssl.vicreg import vicreg
from trainers.ssl.views import (
    JITTER,
    corrupt,
    crop_box,
    image_view,
    resized_crop,
    ssl_views,
    view_width,
)

# Losses of two projections.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "simclr": lambda u, v: simclr(u, v, 0.4),
    "vicreg": vicreg,
}


def projections(seed: int, *, members: int, n: int, d: int) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    u, v = torch.randn(2, members, n, d, generator=source, dtype=torch.float64)
    return u, 0.5 * u + v


def uniforms(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def plain_simclr(u: list[list[float]], v: list[list[float]], tau: float) -> float:
    """Equation 1 of SimCLR, anchor by anchor."""
    z, n, total = u + v, len(u), 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        scores = {k: math.exp(cosine(z[i], z[k]) / tau) for k in range(2 * n) if k != i}
        total -= math.log(scores[j] / sum(scores.values()))
    return total / (2 * n)


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def plain_vicreg(u: np.ndarray, v: np.ndarray) -> float:
    """The authors' loss, dimension by dimension."""
    n, d = u.shape
    s = sum((u[i, j] - v[i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    hinges, covariances = 0.0, 0.0
    for branch in (u, v):
        cov = np.cov(branch, rowvar=False)
        hinges += sum(max(0.0, 1 - math.sqrt(cov[j, j] + 1e-4)) for j in range(d)) / d / 2
        covariances += sum(cov[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d
    return float(25 * s + 25 * hinges + covariances)


@pytest.mark.parametrize(("n", "d"), [(2, 6), (5, 3), (7, 7)])
def test_simclr_equals_the_formula_for_each_member(n: int, d: int) -> None:
    """One number a member, each from its own samples alone."""
    u, v = projections(0, members=3, n=n, d=d)
    got = LOSSES["simclr"](u, v)
    expected = [plain_simclr(u[k].tolist(), v[k].tolist(), 0.4) for k in range(3)]
    assert got.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(2, 6), (5, 3), (7, 7), (9, 16)])
def test_vicreg_equals_the_formula_for_each_member(n: int, d: int) -> None:
    """Few samples and few dimensions take different matrices to the same number."""
    u, v = projections(1, members=3, n=n, d=d)
    got = LOSSES["vicreg"](u, v)
    expected = [plain_vicreg(u[k].numpy(), v[k].numpy()) for k in range(3)]
    assert got.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_ssl_gradients_pass_gradcheck(name: str) -> None:
    """Finite differences know nothing of the formula."""
    u, v = (p.requires_grad_() for p in projections(2, members=2, n=4, d=5))
    assert torch.autograd.gradcheck(lambda a, b: LOSSES[name](a, b), (u, v))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_two_samples_give_finite_losses_and_gradients(name: str) -> None:
    """A batch of two is the smallest that joint SSL must train on."""
    u, v = (p.float().requires_grad_() for p in projections(3, members=2, n=2, d=128))
    loss = LOSSES[name](u, v)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert u.grad is not None
    assert u.grad.isfinite().all()


def test_vicreg_of_identical_samples_stays_finite() -> None:
    """A collapsed network has variance 0, where the root has no gradient without its 1e-4."""
    u = torch.ones(1, 4, 8, requires_grad=True)
    loss = LOSSES["vicreg"](u, u)
    loss.sum().backward()
    assert loss.item() == pytest.approx(25 * (1 - 0.01), rel=1e-6)
    assert u.grad is not None
    assert u.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_nan_stays_in_its_member(name: str) -> None:
    """A diverged member must show, and must not spread."""
    u, v = projections(4, members=3, n=4, d=5)
    u[1, 0, 0] = math.nan
    loss = LOSSES[name](u, v)
    assert loss.isnan().tolist() == [False, True, False]


def test_hue_agrees_with_python_s_colorsys() -> None:
    """The standard library turns the same colours, pixel by pixel."""
    x = uniforms(5, 2, 3, 4, 4)
    x[0, :, 0, 0] = 0.25
    x[0, :, 0, 1] = 0.0
    shift = torch.tensor([0.1, -0.45])
    got = hue(x, shift)
    for m in range(2):
        for i in range(4):
            for j in range(4):
                h, s, v = colorsys.rgb_to_hsv(*x[m, :, i, j].tolist())
                expected = colorsys.hsv_to_rgb((h + float(shift[m])) % 1.0, s, v)
                assert got[m, :, i, j].tolist() == pytest.approx(expected, abs=1e-5)


def test_jitter_equals_torchvision_s_operations_in_this_order() -> None:
    """Brightness and contrast by 0.6..1.4, then saturation, then hue by +- 0.1."""
    x, u = uniforms(6, 5, 3, 9, 7), uniforms(7, 5, 4)
    got = jitter(x, u, JITTER)
    for m in range(5):
        b, c, s, h = u[m].tolist()
        image = tv.adjust_brightness(x[m], 0.6 + 0.8 * b)
        image = tv.adjust_contrast(image, 0.6 + 0.8 * c)
        image = tv.adjust_saturation(image, 0.6 + 0.8 * s)
        image = tv.adjust_hue(image, 0.2 * h - 0.1)
        torch.testing.assert_close(got[m], image, rtol=0, atol=2e-5)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 28, 20)])
def test_resized_crop_equals_torchvision_s_of_the_same_box(shape: tuple[int, ...]) -> None:
    """Each sample's own rectangle, stretched as torchvision stretches it."""
    x, u = uniforms(8, 12, *shape), uniforms(9, 12, 4)
    got = resized_crop(x, u)
    boxes = torch.stack(crop_box(shape[1], shape[2], u), 1).tolist()
    for m, (top, left, height, width) in enumerate(boxes):
        size = list(shape[1:])
        expected = tv.resized_crop(x[m], top, left, height, width, size, antialias=False)
        torch.testing.assert_close(got[m], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [4, 8, 32])
def test_crops_lie_inside_and_reach_every_extreme(side: int) -> None:
    """At the corners of the draws too, a crop is inside, and at least four pixels a side."""
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1 - 2**-24])] * 4)
    top, left, height, width = crop_box(side, side, corners)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= side).all()
    assert (left + width <= side).all()
    assert int(height.min()) >= 4
    assert int(height.max()) == side
    small = height < side
    assert int(top.min()) == int(left.min()) == 0
    if small.any():
        assert int((top + height)[small].max()) == int((left + width)[width < side].max()) == side


def test_a_crop_of_32_pixels_has_the_area_drawn() -> None:
    """On 32x32 the floor of four pixels is out of reach: areas are 8 to 100 %."""
    u = uniforms(10, 4000, 4)
    _, _, height, width = crop_box(32, 32, u)
    fraction = (height * width).double() / 32**2
    drawn = 0.08 + 0.92 * u[:, 0].double()
    assert (fraction - drawn).abs().max() < 0.16
    assert fraction.mean().item() == pytest.approx(0.54 - 0.02, abs=0.03)


CHOICES = [
    ("mirror", 4, 0.5, lambda x: x.flip(-1)),
    ("grey", 10, 0.2, lambda x: tv.rgb_to_grayscale(x, 3)),
]


@pytest.mark.parametrize(("name", "column", "chance", "step"), CHOICES, ids=[c[0] for c in CHOICES])
def test_a_step_happens_below_its_chance_and_not_at_it(
    name: str, column: int, chance: float, step: Callable[[Tensor], Tensor]
) -> None:
    """A draw just below the probability does it; the probability itself does not."""
    x = uniforms(11, 2, 3, 8, 8)
    u = torch.full((2, 11), 0.9)
    u[:, 0] = u[:, 1] = 1 - 2**-24
    u[:, 1] = 0.5
    u[0, column], u[1, column] = chance - 1e-4, chance
    view = image_view(x, u)
    torch.testing.assert_close(view[0], step(x[0]), rtol=0, atol=1e-6)
    torch.testing.assert_close(view[1], x[1], rtol=0, atol=1e-6)


def test_grey_images_get_brightness_and_contrast_only() -> None:
    """Saturation, hue and greying mean nothing on one channel: their draws change nothing."""
    x, u = uniforms(12, 6, 1, 8, 8), uniforms(13, 6, 11)
    other = u.clone()
    other[:, [8, 9, 10]] = uniforms(14, 6, 3)
    assert torch.equal(image_view(x, u), image_view(x, other))


def test_views_of_a_sample_do_not_depend_on_its_batch() -> None:
    """Batch size, pack and worker change nothing but the batches: to the last bit."""
    x, u = uniforms(15, 23, 3, 11, 9), uniforms(16, 23, 11)
    together = image_view(x, u)
    for cut in (1, 2, 7):
        parts = [image_view(a, b) for a, b in zip(x.split(cut), u.split(cut), strict=True)]
        assert torch.equal(torch.cat(parts), together)


def test_views_and_jitter_keep_double_precision() -> None:
    """Single steps are compared in float64: no part may fall back to float32."""
    x = uniforms(26, 3, 3, 8, 8).double()
    assert image_view(x, uniforms(27, 3, 11)).dtype == torch.float64


def test_image_views_stay_in_range_and_differ() -> None:
    """Two draws give two views, of the same shape, in 0..1."""
    x = uniforms(17, 2, 6, 3, 16, 16)
    width = view_width((3, 16, 16))
    first, second = ssl_views(x, (uniforms(18, 2, 6, width), uniforms(19, 2, 6, width)))
    assert first.shape == second.shape == x.shape
    assert not torch.equal(first, second)
    for view in (first, second):
        assert 0.0 <= float(view.min()) <= float(view.max()) <= 1.0


def test_corruption_replaces_six_features_of_ten_by_the_drawn_rows() -> None:
    """Exactly floor(0.6 F) features, each from the row that its own draw names."""
    pool = torch.arange(20.0).view(1, 20, 1) + torch.arange(10.0) / 100 + 1000
    x, u = uniforms(20, 2, 5, 10), uniforms(21, 2, 5, 20)
    got = corrupt(x, u, pool)
    for k in range(2):
        for n in range(5):
            keys = u[k, n, :10].tolist()
            chosen = sorted(range(10), key=lambda f: keys[f])[:6]
            for f in range(10):
                row = int(u[k, n, 10 + f].item() * 20)
                expected = pool[0, row, f] if f in chosen else x[k, n, f]
                assert got[k, n, f] == expected


def test_corruption_draws_from_the_marginals() -> None:
    """Over many draws a replaced feature has the distribution of its column, not its range."""
    pool = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 4, 1).expand(1, 4, 5)
    x = torch.full((1, 20_000, 5), -1.0)
    values = corrupt(x, uniforms(22, 1, 20_000, 10), pool)
    replaced = values[values >= 0]
    assert replaced.numel() == 20_000 * 3
    assert set(replaced.tolist()) == {0.0, 1.0}
    assert replaced.mean().item() == pytest.approx(0.25, abs=0.01)


def test_table_views_are_the_rows_and_their_corruption() -> None:
    """SCARF contrasts clean with corrupted rows; codes stay codes."""
    codes = torch.randint(7, (2, 4, 5), generator=torch.Generator().manual_seed(23))
    pool = codes[:1] + 100
    draws = uniforms(24, 2, 4, view_width((5,))), uniforms(25, 2, 4, view_width((5,)))
    clean, corrupted = ssl_views(codes, draws, pool)
    assert torch.equal(clean, codes)
    assert corrupted.dtype == torch.int64
    assert ((corrupted >= 100).sum(-1) == 3).all()


# --- a queue of negatives, and the view of the supervised loss


def test_the_queue_is_among_the_negatives() -> None:
    """NT-Xent with the queue's cosines in each denominator; empty places do not count."""
    u, v = projections(30, members=2, n=3, d=4)
    queue = torch.nn.functional.normalize(projections(31, members=2, n=5, d=4)[0], dim=-1)
    queue[1, 3:] = 0.0
    got = simclr(u, v, 0.4, queue)
    for k in range(2):
        z = [*u[k].tolist(), *v[k].tolist()]
        more = [row for row in queue[k].tolist() if any(row)]
        total = 0.0
        for i in range(6):
            others = [math.exp(cosine(z[i], z[j]) / 0.4) for j in range(6) if j != i]
            others += [math.exp(cosine(z[i], row) / 0.4) for row in more]
            total -= cosine(z[i], z[(i + 3) % 6]) / 0.4 - math.log(sum(others))
        assert float(got[k]) == pytest.approx(total / 6, abs=1e-12)


@pytest.mark.parametrize("sam", [0.0, 0.1])
def test_the_queue_has_the_newest_projections_of_earlier_updates(sam: float) -> None:
    """20 places: 16 of the last update, 4 of the one before; none of SAM's second pass."""
    settings = {"ssl": {"weight": 0.5}, "simclr": {"queue": 20}, "sam": {"radius": sam}}
    trainer = pack(images(), config(precision="float64", **settings))
    queue = trainer.objective.memory["queue"]
    expected = torch.zeros(20, 128, dtype=torch.float64)
    for batch in trainer.feed.batches(0, 3):
        assert batch.views is not None
        with torch.no_grad():
            seen = trainer.pack.ssl_outputs(batch.views, {})
        trainer.update(batch)
        rows = torch.nn.functional.normalize(torch.cat([seen[0][0], seen[1][0]]), dim=-1)
        expected = torch.cat([rows, expected])[:20]
        torch.testing.assert_close(queue.tensor.view(20, 128), expected, rtol=0, atol=1e-12)
    assert bool((expected != 0).any(1).all())


def test_the_supervised_loss_sees_the_first_view() -> None:
    """The batch's own samples of the view, whatever train.augmentation says; labels stay."""
    ssl = {"weight": 0.5, "batch_multiple": 2}
    seen = pack(images(), config(ssl=ssl | {"supervised_view": "ssl"}, augmentation="mixup"))
    usual = pack(images(), config(ssl=ssl))
    for ours, theirs in zip(seen.feed.batches(0, 4), usual.feed.batches(0, 4), strict=True):
        assert theirs.views is not None
        assert torch.equal(ours.labels, theirs.labels)
        assert torch.equal(ours.targets, theirs.targets)
        assert torch.equal(ours.x, theirs.views[0][: len(theirs.x)])
        assert not torch.equal(ours.x, theirs.x)
