"""Which operations a policy draws, how names are joined, and what mixing gives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import autoaugment

from trainers import policies
from trainers.augment import Mixer, Policy, parse, part
from trainers.config import ConfigError, TrainConfig


def policy(text: str) -> Policy:
    """The policy that a spec's augmentation names."""
    return parse(TrainConfig(augmentation=text))


ALMOST_ONE = 1 - 2**-24
DRAWN = {name: (place + 0.5) / 14 for place, name in enumerate(policies.DRAWN_OPS)}


def uniforms(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def alike(x: Tensor) -> Tensor:
    """Classes of equal size, (K, B)."""
    return torch.ones(x.shape[:2])


def plain(name: str) -> str:
    """Torchvision's ShearX is our shear_x."""
    return {"ShearX": "shear_x", "ShearY": "shear_y"}.get(
        name, name.replace("slateX", "slate_x").replace("slateY", "slate_y").lower()
    )


# --- what the policies draw


def test_operations_are_torchvision_s() -> None:
    """TrivialAugmentWide and RandAugment draw from the same fourteen."""
    for official in (
        autoaugment.TrivialAugmentWide()._augmentation_space(31),
        autoaugment.RandAugment()._augmentation_space(31, (32, 32)),
    ):
        assert [plain(name) for name in official] == list(policies.DRAWN_OPS)


@pytest.mark.parametrize("side", [8, 28, 32])
@pytest.mark.parametrize("bins", [10, 31])
def test_milder_strengths_are_torchvision_s(bins: int, side: int) -> None:
    """Those of RandAugment (31 steps) and AutoAugment (10), translations in parts of the side."""
    official = autoaugment.AutoAugment()._augmentation_space(bins, (side, side))
    ours = policies._magnitudes(bins, wide=False, height=side, width=side)
    for name, (magnitudes, signed) in official.items():
        expected = magnitudes.tolist() if magnitudes.ndim else [0.0] * bins
        assert ours[plain(name)] == pytest.approx(expected, abs=1e-4)
        assert signed == (plain(name) in policies.SIGNED)


def test_rand_augment_takes_strength_nine() -> None:
    """Torchvision's default magnitude: a translation by 150/331 of the side, times 9/30."""
    x = uniforms(0, 1, 1, 32, 32)
    draws = torch.tensor([[DRAWN["translate_x"], 0.2, DRAWN["identity"], 0.0]])
    shifted = policies.rand_augment(x, draws)
    assert torch.equal(shifted[..., 4:], x[..., :-4])
    assert not shifted[..., :4].any()
    draws = torch.tensor([[DRAWN["brightness"], 0.7, DRAWN["identity"], 0.0]])
    torch.testing.assert_close(policies.rand_augment(x, draws), x * (1 - 0.9 * 9 / 30))


def test_rand_augment_applies_one_operation_to_the_other_s_result() -> None:
    """A shift then a stretch is not a stretch then a shift."""
    x = torch.full((1, 1, 28, 28), 0.5)
    first, second = DRAWN["translate_x"], DRAWN["autocontrast"]
    shift_first = policies.rand_augment(x, torch.tensor([[first, 0.0, second, 0.0]]))
    shift_last = policies.rand_augment(x, torch.tensor([[second, 0.0, first, 0.0]]))
    assert set(shift_first.flatten().tolist()) == {0.0, 1.0}
    assert set(shift_last.flatten().tolist()) == {0.0, 0.5}


def test_auto_augment_s_pairs_are_torchvision_s() -> None:
    """Names, chances and strengths of all 25 pairs."""
    official = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy.CIFAR10).policies
    expected = [tuple((plain(n), p, s or 0) for n, p, s in pair) for pair in official]
    assert list(policies.CIFAR10_POLICIES) == expected


@pytest.mark.parametrize("pair", range(25))
@pytest.mark.parametrize("stage", [0, 1])
def test_auto_augment_does_an_operation_below_its_chance_and_not_at_it(
    pair: int, stage: int
) -> None:
    """The other operation of the pair is kept from happening; what is left is this one alone."""
    name, chance, step = policies.CIFAR10_POLICIES[pair][stage]
    x = uniforms(1, 1, 3, 32, 32) * 0.8
    draws = torch.full((1, 5), ALMOST_ONE)
    draws[0, 0] = (pair + 0.5) / 25
    draws[0, 2 + 2 * stage] = 0.25
    draws[0, 1 + 2 * stage] = chance
    assert torch.equal(policies.auto_augment(x, draws), x)
    if chance == 0.0:
        return
    draws[0, 1 + 2 * stage] = chance - 1e-4
    strengths = policies._magnitudes(10, wide=False, height=32, width=32)
    kind, numbers = policies._row(name, strengths[name][step], height=32, width=32)
    assert torch.equal(
        policies.auto_augment(x, draws), policies.OPS[kind](x, torch.tensor([numbers]))
    )


@pytest.mark.parametrize("choices", [2, 3, 9, 14, 25, 31, 32, 512, 50_000])
def test_the_largest_draw_picks_the_last_choice(choices: int) -> None:
    """u < 1 in float32 must never round up to a choice that does not exist."""
    u = torch.tensor([0.0, ALMOST_ONE])
    assert policies.pick(u, choices).tolist() == [0, choices - 1]


# --- names


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("none", 0),
        ("flip_crop", 3),
        ("flip_crop+trivial_augment", 6),
        ("auto_augment + mixup", 6),
        ("mixup", 1),
        ("none+mixup", 1),
        ("rand_augment+cutmix", 8),
    ],
)
def test_joined_names_add_up(text: str, width: int) -> None:
    """A policy needs the draws of its parts."""
    assert policy(text).width() == width


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mixpu", "the nearest is 'mixup'"),
        ("flip_crop+autoaugment", "unknown part 'autoaugment'; the nearest is 'auto_augment'"),
        ("flip", "the nearest is 'flip_crop'"),
        ("", "'' is unknown"),
        ("mixup+flip_crop", "put one mixer, mixup or cutmix or remix, last"),
        ("mixup+cutmix", "put one mixer, mixup or cutmix or remix, last"),
    ],
)
def test_a_bad_name_says_what_would_do(text: str, says: str) -> None:
    """One line with the key, the value and the nearest valid one."""
    with pytest.raises(ConfigError) as caught:
        policy(text)
    assert caught.value.key == "train.augmentation"
    assert caught.value.value == text
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parts_follow_each_other_with_draws_of_their_own() -> None:
    """Columns go to the parts in the order of their names."""
    x, u = uniforms(2, 9, 3, 16, 16), uniforms(3, 9, 7)
    step = policies.trivial_augment(policy("flip_crop").apply(x, u[:, :3]), u[:, 3:6])
    assert torch.equal(policy("flip_crop+trivial_augment+mixup").apply(x, u), step)


def test_no_augmentation_returns_its_arguments() -> None:
    """none costs nothing: no copy, no draw."""
    x, targets = uniforms(4, 2, 3, 5), uniforms(5, 2, 3, 4)
    assert policy("none") == Policy()
    assert policy("none").apply(x, torch.empty(2, 0)) is x
    mixed, mixed_targets, mixing = policy("none").mix(x, targets, torch.empty(2, 3, 0), alike(x))
    assert mixed is x
    assert mixed_targets is targets
    assert mixing is None


# --- mixing


def plain_box(u: list[float], height: int, width: int) -> set[tuple[int, int]]:
    """Pixels of CutMix's box, as the authors' rand_bbox cuts it."""
    if u[0] >= 0.5:
        return set()
    ratio = math.sqrt(1 - u[1])
    half_h, half_w = int(height * ratio) // 2, int(width * ratio) // 2
    cy, cx = int(u[2] * height), int(u[3] * width)
    rows = range(max(0, cy - half_h), min(height, cy + half_h))
    columns = range(max(0, cx - half_w), min(width, cx + half_w))
    return {(i, j) for i in rows for j in columns}


@pytest.mark.parametrize("shape", [(2, 5, 1, 6, 6), (2, 5, 7)], ids=["images", "table"])
def test_mixup_equals_a_plain_loop(shape: tuple[int, ...]) -> None:
    """Inputs and targets take the share u of themselves, the rest of the next sample."""
    x, targets, u = uniforms(6, *shape), uniforms(7, 2, 5, 3), uniforms(8, 2, 5, 4)
    both = Policy(policy("flip_crop").transforms, policy("mixup").mixers)
    got, got_targets, mixing = both.mix(x, targets, u, alike(x))
    assert mixing is not None
    for k in range(2):
        for b in range(5):
            own, other = float(u[k, b, 3]), (b + 1) % 5
            expected = own * x[k, b] + (1 - own) * x[k, other]
            torch.testing.assert_close(got[k, b], expected)
            mixed = own * targets[k, b] + (1 - own) * targets[k, other]
            torch.testing.assert_close(got_targets[k, b], mixed)
            assert float(mixing.weight[k, b]) == own


def test_cutmix_equals_a_plain_loop_and_weighs_by_area() -> None:
    """Each pixel comes from one of the two, and the targets follow the pixels counted."""
    x, targets, u = uniforms(9, 3, 40, 2, 9, 12), uniforms(10, 3, 40, 4), uniforms(11, 3, 40, 4)
    got, got_targets, mixing = policy("cutmix").mix(x, targets, u, alike(x))
    assert mixing is not None
    for k in range(3):
        for b in range(40):
            box, other = plain_box(u[k, b].double().tolist(), 9, 12), (b + 1) % 40
            expected = x[k, b].clone()
            for i, j in box:
                expected[:, i, j] = x[k, other, :, i, j]
            assert torch.equal(got[k, b], expected)
            own = 1 - len(box) / (9 * 12)
            mixed = own * targets[k, b] + (1 - own) * targets[k, other]
            torch.testing.assert_close(got_targets[k, b], mixed)
            assert float(mixing.weight[k, b]) == pytest.approx(own, abs=1e-6)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_ascent_weights_mix_like_the_targets(name: str) -> None:
    """A sample's ascent weight is the share-weighted mean of a of its two labels."""
    labels = torch.randint(4, (2, 8), generator=torch.Generator().manual_seed(12))
    a = torch.tensor([1.0, 2.0, 10.0, 100.0])
    hot = torch.nn.functional.one_hot(labels, 4).float()
    x, u = (
        uniforms(13, 2, 8, 1, 8, 8),
        uniforms(14, 2, 8, 4)[..., : part(name, TrainConfig()).width],
    )
    _, targets, mixing = policy(name).mix(x, hot, u, alike(x))
    assert mixing is not None
    torch.testing.assert_close(mixing.blend(a[labels]), targets @ a)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_a_batch_of_one_mixes_with_itself(name: str) -> None:
    """The sample has no partner: it is left alone."""
    mixer = part(name, TrainConfig())
    assert isinstance(mixer, Mixer)
    x, targets = uniforms(15, 2, 1, 1, 8, 8), uniforms(16, 2, 1, 3)
    got, got_targets, _ = Policy(mixers=(mixer,)).mix(
        x, targets, uniforms(17, 2, 1, mixer.width), alike(x)
    )
    torch.testing.assert_close(got, x)
    torch.testing.assert_close(got_targets, targets)


def test_mixup_keeps_targets_sums_and_inputs_untouched() -> None:
    """What is mixed still sums to 1, and the caller's tensors are not written to."""
    x, targets = uniforms(18, 1, 6, 3), torch.eye(6)[None]
    before = x.clone()
    _, mixed, _ = policy("mixup").mix(x, targets, uniforms(19, 1, 6, 1), alike(x))
    torch.testing.assert_close(mixed.sum(-1), torch.ones(1, 6))
    assert torch.equal(x, before)


def test_labels_are_not_mixed_as_if_they_were_numbers() -> None:
    """Half of class 2 and half of class 4 is not class 3: hard labels are refused."""
    labels = torch.tensor([[2, 4]])
    with pytest.raises(TypeError, match="make labels soft first"):
        policy("mixup").mix(uniforms(20, 1, 2, 3), labels, uniforms(21, 1, 2, 1), torch.ones(1, 2))
