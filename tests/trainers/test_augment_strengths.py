"""Augmentations with a strength: mixing, erasing, RandAugment, colours, blur, noise; by class."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from small_packs import config, images, pack, table
from torch import Tensor
from torchvision.transforms import autoaugment
from torchvision.transforms import v2 as tv
from torchvision.transforms.v2 import functional as official

from trainers import policies
from trainers.augment import Augmentation, Mixer, Mixing, beta_shares, erase, part
from trainers.blocks import ConfigError
from trainers.check import check
from trainers.config import TrainConfig
from trainers.row_noise import RowAugmentation, TableRows

ALMOST_ONE = 1 - 2**-24


def uniforms(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- shares of mixup and cutmix


@pytest.mark.parametrize("alpha", [0.2, 0.4, 1.0, 3.0])
def test_mixing_shares_are_beta_distributed(alpha: float) -> None:
    """20,000 drawn shares pass a Kolmogorov-Smirnov test; even draws follow the distribution."""
    official, shares = stats.beta(alpha, alpha), beta_shares(alpha)
    u = uniforms(0, 20_000).double()
    assert stats.kstest(shares(u).numpy(), official.cdf).pvalue > 0.01
    even = (torch.arange(50_000, dtype=torch.float64) + 0.5) / 50_000
    assert abs(official.cdf(shares(even).numpy()) - even.numpy()).max() < 3e-4
    torch.testing.assert_close(shares(u.float()).double(), shares(u), rtol=0, atol=2e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_the_extreme_draws_are_shares(alpha: float) -> None:
    """0 and the largest number below 1 stay within 0 to 1, in the order of the draws."""
    found = beta_shares(alpha)(torch.tensor([0.0, 0.5, ALMOST_ONE]))
    assert found.tolist() == sorted(found.tolist())
    assert float(found[0]) == 0.0
    assert float(found[1]) == pytest.approx(0.5, abs=1e-6)
    assert 0.99 < float(found[2]) <= 1.0


@pytest.mark.parametrize(("name", "column"), [("mixup", 0), ("cutmix", 1)])
@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_a_mixer_takes_its_alpha(name: str, column: int, alpha: float) -> None:
    """With alpha 0.2 most weights are near 0 or 1, with alpha 1 they are even."""
    mixer = part(name, TrainConfig.model_validate({name: {"alpha": alpha}}))
    assert isinstance(mixer, Mixer)
    draws = torch.zeros(1, 500, mixer.width)
    draws[..., -2:] = 0.5  # a box in the middle, so that the border cuts nothing off
    draws[..., 0] = 0.0  # every image gets a box
    draws[..., column] = (torch.arange(500) + 0.5) / 500
    _, mixing = mixer.mix(torch.zeros(1, 500, 1, 128, 128), draws)
    near_an_end = (mixing.weight < 0.1) | (mixing.weight > 0.9)
    expected = 2 * stats.beta(alpha, alpha).cdf(0.1)
    assert float(near_an_end.double().mean()) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_cutmix_cuts_the_share_of_images_that_its_probability_says(chance: float) -> None:
    """An image without a box keeps all of itself."""
    mixer = part("cutmix", TrainConfig.model_validate({"cutmix": {"probability": chance}}))
    assert isinstance(mixer, Mixer)
    draws = uniforms(3, 1, 2000, 4)
    draws[..., 1] = 0.25
    draws[..., 2:] = 0.5
    _, mixing = mixer.mix(torch.zeros(1, 2000, 1, 8, 8), draws)
    assert torch.equal(mixing.weight < 1.0, draws[..., 0] < chance)


# --- random erasing


def rectangle(before: Tensor, after: Tensor) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of the pixels that differ; they must fill a rectangle."""
    gone = (before != after).all(0)
    assert torch.equal(gone, (before != after).any(0)), "channels are erased alike"
    rows, columns = gone.any(1).nonzero()[:, 0].tolist(), gone.any(0).nonzero()[:, 0].tolist()
    if not rows:
        return None
    assert gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert int(gone.sum()) == len(rows) * len(columns)
    return rows[0], columns[0], len(rows), len(columns)


def test_erasing_sets_one_rectangle_to_grey_in_its_share_of_images() -> None:
    """The draw below the probability does it; the erased pixels are 0.5, the others untouched."""
    x, u = uniforms(4, 400, 3, 16, 12), uniforms(5, 400, 5)
    got = erase(x, u, chance=0.3)
    for m in range(400):
        found = rectangle(x[m], got[m])
        assert (found is not None) == (float(u[m, 0]) < 0.3)
        if found is not None:
            top, left, height, width = found
            assert (got[m, :, top : top + height, left : left + width] == 0.5).all()
    assert torch.equal(erase(x, u, chance=0.0), x)


def test_erased_areas_and_ratios_follow_the_paper() -> None:
    """2 to 33 % of the area, evenly; height over width from 0.3 to 3.3, its logarithm evenly."""
    side, number = 100, 600  # so large that rounding to whole pixels hides nothing
    u = uniforms(6, number, 5)
    x = torch.zeros(number, 1, side, side)
    got = erase(x, u, chance=1.0)
    boxes = [rectangle(x[m], got[m]) for m in range(number)]
    area, ratio = [], []
    for box in boxes:
        assert box is not None
        top, left, height, width = box
        assert 0 <= top <= side - height
        assert 0 <= left <= side - width
        if height < side and width < side:  # cut to the image otherwise
            area.append(height * width / side**2)
            ratio.append(math.log(height / width))
    assert stats.kstest(ratio, stats.uniform(math.log(0.3), math.log(11)).cdf).pvalue > 0.01
    assert min(area) > 0.018
    assert max(area) < 0.34
    assert stats.kstest(area, stats.uniform(0.02, 0.31).cdf).statistic < 0.07


def test_erased_rectangles_have_torchvision_s_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same area and ratio give torchvision's height and width."""
    official = tv.RandomErasing(p=1.0, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0.5)
    compared = 0
    for seed in range(40):
        u = uniforms(seed, 1, 5)
        draws = iter([
            torch.tensor([0.02 + 0.31 * float(u[0, 1])]),
            torch.tensor([math.log(0.3) + math.log(11) * float(u[0, 2])]),
        ])  # fmt: skip
        with monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, "uniform_", lambda self, a, b, d=draws: next(d))
            patched.setattr(torch, "randint", lambda *a, **k: torch.tensor([0]))
            try:
                found = official.make_params([torch.zeros(3, 32, 28)])
            except StopIteration:  # it does not fit and is drawn again; ours is cut to the image
                continue
        x = torch.zeros(1, 3, 32, 28)
        box = rectangle(x[0], erase(x, u, chance=1.0)[0])
        assert box is not None
        assert box[2:] == (found["h"], found["w"])
        compared += 1
    assert compared > 30


# --- RandAugment


@pytest.mark.parametrize("strength", [0, 4, 15, 30])
def test_rand_augment_takes_torchvision_s_strength(strength: int) -> None:
    """M of 30 steps, for an operation that blends, in either sign."""
    x = uniforms(7, 1, 3, 32, 32) * 0.9
    space = autoaugment.RandAugment()._augmentation_space(31, (32, 32))
    amount = float(space["Brightness"][0][strength])
    place = (policies.DRAWN_OPS.index("brightness") + 0.5) / 14
    one = augmentation(operations=1, strength=strength)
    for draw, sign in ((0.2, 1), (0.7, -1)):
        got = one.apply(x, torch.tensor([[place, draw]]))
        torch.testing.assert_close(got, (x * (1 + sign * amount)).clamp(0, 1))


def augmentation(**keys: int) -> Augmentation:
    made = part("rand_augment", TrainConfig.model_validate({"rand_augment": keys}))
    assert isinstance(made, Augmentation)
    return made


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_rand_augment_applies_n_operations_in_turn(number: int) -> None:
    """Two draws each; N operations are N times one operation, with the draws of each."""
    whole, single = augmentation(operations=number), augmentation(operations=1)
    assert (whole.width, single.width) == (2 * number, 2)
    x, u = uniforms(8, 9, 3, 16, 16), uniforms(9, 9, 2 * number)
    step = x
    for at in range(number):
        step = single.apply(step, u[:, 2 * at : 2 * at + 2])
    assert torch.equal(whole.apply(x, u), step)


def test_rand_augment_s_default_is_the_published_one() -> None:
    """N = 2 and M = 9, as without the keys."""
    x, u = uniforms(10, 9, 3, 16, 16), uniforms(11, 9, 4)
    assert torch.equal(augmentation().apply(x, u), policies.rand_augment(x, u))
    assert torch.equal(
        augmentation(operations=2, strength=9).apply(x, u), augmentation().apply(x, u)
    )


# --- ReMix


def test_remix_gives_the_pair_s_target_to_the_much_smaller_class() -> None:
    """The rule of Chou et al. 2020, equation 4, sample by sample; inputs are mixed as by mixup."""
    made = part("remix", TrainConfig.model_validate({"remix": {"ratio": 3.0, "share": 0.4}}))
    plain = part("mixup", TrainConfig())
    assert isinstance(made, Mixer)
    assert isinstance(plain, Mixer)
    assert made.of_targets is not None
    sizes = torch.tensor([[100, 30, 34, 5, 5, 400, 100, 33]])
    x = uniforms(12, 1, 8, 4)
    changed = 0
    for seed in range(20):
        u = uniforms(seed, 1, 8, 1)
        mixed, mixing = made.mix(x, u)
        assert torch.equal(mixed, plain.mix(x, u)[0])
        for b, got in enumerate(made.of_targets(mixing, sizes).weight[0].tolist()):
            lam, ratio = float(u[0, b, 0]), int(sizes[0, b]) / int(sizes[0, (b + 1) % 8])
            expected = 0.0 if ratio >= 3 and lam < 0.4 else lam
            expected = 1.0 if ratio <= 1 / 3 and 1 - lam < 0.4 else expected
            changed += expected != lam
            assert got == pytest.approx(expected, abs=1e-7)
    assert changed > 20


def test_remix_mixes_what_is_weighed_by_class_as_it_mixes_targets() -> None:
    """A target that belongs to one class alone has the weight of that class alone."""
    mixing = Mixing(torch.tensor([[0.0, 1.0]]))
    assert mixing.blend(torch.tensor([[5.0, 7.0]])).tolist() == [[7.0, 7.0]]
    settings = {"class_weights": "inverse", "augmentation": "remix", "batch_size": 25}
    one = pack(images(), config(ratio=0.05, **settings, remix={"ratio": 1.0, "share": 1.0}))
    (batch,) = one.feed.batches(0, 1)
    sizes = torch.tensor(one.counts)[batch.labels]
    weights = one.objective.of_classes["class weights"][0]
    for b in range(batch.labels.shape[1]):
        after = (b + 1) % batch.labels.shape[1]
        if sizes[0, b] != sizes[0, after]:
            smaller = b if sizes[0, b] < sizes[0, after] else after
            assert float(batch.targets[0, b, batch.labels[0, smaller]]) == 1.0
            weight = weights[batch.labels[0, smaller]]
            assert float(batch.of_samples["class weights"][0, b]) == pytest.approx(float(weight))


# --- colours and blur


@pytest.mark.parametrize("strength", [0.2, 1.0, 1.25])
def test_color_jitter_is_torchvision_s_at_each_strength(strength: float) -> None:
    """Brightness, contrast, saturation and hue, one after the other, on the chosen images."""
    keys = {"color_jitter": {"strength": strength, "probability": 0.6}}
    made = part("color_jitter", TrainConfig.model_validate(keys))
    assert isinstance(made, Augmentation)
    x, u = uniforms(13, 40, 3, 9, 8), uniforms(14, 40, 5)
    got = made.apply(x, u)
    for m in range(40):
        expected = x[m]
        if float(u[m, 0]) < 0.6:
            factors = [1 + 0.8 * strength * (2 * float(d) - 1) for d in u[m, 1:4]]
            expected = official.adjust_brightness(expected, factors[0])
            expected = official.adjust_contrast(expected, factors[1])
            expected = official.adjust_saturation(expected, factors[2])
            expected = official.adjust_hue(expected, 0.2 * strength * (2 * float(u[m, 4]) - 1))
        torch.testing.assert_close(got[m], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("sigma", "shape"), [(0.4, (3, 8, 8)), (1.0, (1, 8, 9)), (2.0, (3, 16, 16))]
)
def test_blur_is_torchvision_s_gaussian_blur(sigma: float, shape: tuple[int, ...]) -> None:
    """A sigma from 0.1 to the largest; the curve reaches three of the largest, within the image."""
    keys = {"blur": {"sigma": sigma, "probability": 0.7}}
    made = part("blur", TrainConfig.model_validate(keys))
    assert isinstance(made, Augmentation)
    x, u = uniforms(15, 30, *shape), uniforms(16, 30, 2)
    got = made.apply(x, u)
    kernel = 2 * min(math.ceil(3 * sigma), min(shape[1:]) - 1) + 1
    for m in range(30):
        own = 0.1 + (sigma - 0.1) * float(u[m, 1])
        expected = official.gaussian_blur(x[m], [kernel, kernel], [own, own])
        expected = expected if float(u[m, 0]) < 0.7 else x[m]
        torch.testing.assert_close(got[m], expected, rtol=0, atol=2e-6)


# --- rows of tables


def rows_of(name: str, x: Tensor, u: Tensor, table: TableRows, **keys: float) -> Tensor:
    made = part(name, TrainConfig.model_validate({name: keys}))
    assert isinstance(made, RowAugmentation)
    assert u.shape[-1] == made.width * x.shape[-1]
    return made.apply(x, u, table)


def test_noise_is_normal_and_leaves_codes_alone() -> None:
    """A Kolmogorov-Smirnov test of 20,000 numbers; the smallest draw gives a number too."""
    x, u = uniforms(17, 2, 5000, 3), uniforms(18, 2, 5000, 3)
    u[0, 0, 0] = 0.0
    got = rows_of("noise", x, u, TableRows(2, x), strength=0.3)
    assert torch.equal(got[..., 2], x[..., 2])
    added = ((got - x)[..., :2] / 0.3).flatten().double()
    assert bool(added.isfinite().all())
    assert stats.kstest(added.numpy(), stats.norm.cdf).pvalue > 0.01


def test_swapped_values_are_those_of_drawn_rows() -> None:
    """Value by value: below the share, the drawn row of the member's own subset."""
    x, rows, u = uniforms(19, 2, 50, 4), uniforms(20, 2, 7, 4), uniforms(21, 2, 50, 8)
    got = rows_of("swap", x, u, TableRows(3, rows), share=0.25)
    for k in range(2):
        for n in range(50):
            for f in range(4):
                donor = rows[k, int(float(u[k, n, 4 + f]) * 7), f]
                expected = donor if float(u[k, n, f]) < 0.25 else x[k, n, f]
                assert float(got[k, n, f]) == float(expected)


# --- weakened


@pytest.mark.parametrize("name", ["color_jitter", "blur", "noise", "swap"])
def test_a_weakened_sample_is_one_of_a_weaker_augmentation(name: str) -> None:
    """Sample by sample: strength, sigma or share times the factor."""
    keys = {
        "color_jitter": lambda f: {"strength": 0.5 * f, "probability": 1.0},
        "blur": lambda f: {"sigma": 0.1 + 0.9 * f, "probability": 1.0},
        "noise": lambda f: {"strength": 0.5 * f},
        "swap": lambda f: {"share": 0.6 * f},
    }[name]
    factors = torch.tensor([0.25, 0.5, 1.0])
    made = part(name, TrainConfig.model_validate({name: keys(1.0)}))
    rows = isinstance(made, RowAugmentation)
    x = uniforms(22, 1, 3, 4) if rows else uniforms(22, 3, 3, 8, 8)
    u = uniforms(23, *x.shape[: 2 if rows else 1], made.width * (4 if rows else 1))
    held, plain = TableRows(4, x), torch.ones(3)
    if isinstance(made, RowAugmentation):
        got, full = (made.run(x, u, held, f[None])[0] for f in (factors, plain))
        assert torch.equal(full, made.run(x, u, held, None)[0])
    else:
        assert isinstance(made, Augmentation)
        got, full = (made.run(x, u, f) for f in (factors, plain))
        assert torch.equal(full, made.run(x, u, None))
    for at, factor in enumerate(factors.tolist()):
        weak = part(name, TrainConfig.model_validate({name: keys(factor)}))
        if isinstance(weak, RowAugmentation):
            expected = weak.apply(x, u, held)[0, at]
        else:
            assert isinstance(weak, Augmentation)
            expected = weak.apply(x[at : at + 1], u[at : at + 1])[0]
        torch.testing.assert_close(got[at], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.5, 1.0])
def test_weakened_policies_draw_smaller_strengths(factor: float) -> None:
    """RandAugment takes the nearest whole strength, TrivialAugment draws up to it."""
    x, u = uniforms(24, 200, 3, 8, 8), uniforms(25, 200, 4)
    factors = torch.full((200,), factor)
    got = policies.rand_augment(x, u, factors, strength=9)
    assert torch.equal(got, policies.rand_augment(x, u, strength=round(9 * factor)))
    most = round(30 * factor)
    scaled = u.clone()  # the draw of the strength as one of 31
    scaled[:, 1] = ((u[:, 1] * (most + 1)).floor() + 0.5) / 31
    got = policies.trivial_augment(x, u, factors)
    assert torch.equal(got, policies.trivial_augment(x, scaled))


# --- by class


def test_each_class_has_its_own_strength() -> None:
    """The noise of a row is that of a run at full strength times the factor of its class.

    A member with other factors trains in the same pack.
    """
    ends = [{"minority": 0.8, "majority": 0.2}, {"minority": 0.1, "majority": 1.0}]
    settings = {"model": "mlp", "batch_size": 12, "precision": "float64"}
    noisy = settings | {"augmentation": "noise", "noise": {"strength": 0.5}}
    runs = [config(ratio=0.3, **noisy, augmentation_strength=one) for one in ends]
    weak, full = pack(table(), *runs, replicates=(0, 0)), pack(table(), config(ratio=0.3, **noisy))
    plain = pack(table(), config(ratio=0.3, **settings))
    counts = weak.counts
    position = math.log(counts[0] / counts[1]) / math.log(counts[0] / counts[2])
    for ours, most, none in zip(
        *(one.feed.batches(0, one.feed.epoch_steps) for one in (weak, full, plain)), strict=True
    ):
        labels = none.labels[0]
        for k, one in enumerate(ends):
            low, high = one["majority"], one["minority"]
            own = torch.tensor([low, low + (high - low) * position, high], dtype=torch.float64)
            added = (most.x - none.x)[0] * own[labels][:, None]
            torch.testing.assert_close(ours.x[k] - none.x[0], added, rtol=1e-6, atol=1e-7)


def test_a_strength_by_class_needs_an_augmentation_with_a_strength() -> None:
    """Mirroring has none, so a factor of it would do nothing."""
    with pytest.raises(ConfigError, match=r"train.augmentation: 'flip_crop' has no strength"):
        check(
            config(augmentation="flip_crop", augmentation_strength={"majority": 0.5}),
            images().facts,
        )


def test_each_member_augments_its_own_share_of_each_class() -> None:
    """0.9 of the smallest class, 0.1 of the largest, linear in the logarithm of the count between.

    A member with other shares trains in the same pack, and augments what it augments alone.
    """
    shares = [{"minority": 0.9, "majority": 0.1}, {"minority": 0.2, "majority": 1.0}]
    settings = {"augmentation": "trivial_augment+color_jitter", "epochs": 20, "batch_size": 26}
    settings |= {"color_jitter": {"probability": 1.0}}
    data, plain = images(channels=3), config(ratio=0.3, epochs=20, batch_size=26)
    runs = [config(ratio=0.3, **settings, augmentation_chance=share) for share in shares]
    together = pack(data, *runs, replicates=(0, 0))
    unchanged = pack(data, plain)
    counts = together.counts
    position = math.log(counts[0] / counts[1]) / math.log(counts[0] / counts[2])
    changed, seen = torch.zeros(2, 3), torch.zeros(3)
    steps = 20 * together.feed.epoch_steps
    for ours, theirs in zip(
        together.feed.batches(0, steps), unchanged.feed.batches(0, steps), strict=True
    ):
        labels = theirs.labels[0]
        seen += labels.bincount(minlength=3)
        both = ours.x.unflatten(1, (2, 3)) != theirs.x[:, None]
        for k in range(2):
            changed[k] += labels[both[:, k].flatten(1).any(1)].bincount(minlength=3)
    for k, share in enumerate(shares):
        low, high = share["majority"], share["minority"]
        expected = torch.tensor([low, low + (high - low) * position, high])
        spread = (expected * (1 - expected) / seen).sqrt()
        assert ((changed[k] / seen - expected).abs() <= 4 * spread + 0.01).all()
