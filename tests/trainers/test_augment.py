"""Each image operation at each strength against torchvision, image by image; and batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, autoaugment
from torchvision.transforms.v2 import functional as tv

from trainers import augment, catalogue, policies
from trainers.augment import Augmentation
from trainers.config import TrainConfig
from trainers.image_ops import IMAGE_OPS

TORCHVISION = {
    "identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY",
    "translate_x": "TranslateX", "translate_y": "TranslateY", "rotate": "Rotate",
    "brightness": "Brightness", "color": "Color", "contrast": "Contrast",
    "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize",
    "autocontrast": "AutoContrast", "equalize": "Equalize",
}  # fmt: skip
PIXEL_MAPS = ("translate_x", "translate_y", "shear_x", "shear_y", "rotate")
BYTE_OPS = ("posterize", "solarize", "equalize")
SHAPES = [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 16, 24)]


def images(seed: int, samples: int, shape: tuple[int, ...]) -> Tensor:
    """Bytes with a gradient under the noise, so that no channel is flat or full."""
    source = torch.Generator().manual_seed(seed)
    noise = torch.randint(120, (samples, *shape), generator=source)
    ramp = torch.linspace(20, 130, shape[-1]).long()
    return (noise + ramp).to(torch.uint8)


def uniforms(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def reference(image: Tensor, name: str, strength: float) -> Tensor:
    """Torchvision's operation on one image: on bytes where bytes matter, else on floats."""
    if name in BYTE_OPS or name in PIXEL_MAPS:
        nearest = InterpolationMode.NEAREST
        done = autoaugment._apply_op(image, TORCHVISION[name], strength, nearest, None)
        return done.float() / 255
    x = image.float() / 255
    functions = {
        "identity": lambda: x,
        "brightness": lambda: tv.adjust_brightness(x, 1 + strength),
        "color": lambda: tv.adjust_saturation(x, 1 + strength),
        "contrast": lambda: tv.adjust_contrast(x, 1 + strength),
        "sharpness": lambda: tv.adjust_sharpness(x, 1 + strength),
        "autocontrast": lambda: tv.autocontrast(x),
    }
    return functions[name]()


def assert_same_image(got: Tensor, image: Tensor, name: str, strength: float) -> None:
    """To rounding; where a turn falls between two pixels (45 degrees), either of them."""
    if name == "rotate":
        before, after = (reference(image, name, strength + step) for step in (-1e-3, 1e-3))
        assert torch.equal(torch.minimum((got - before).abs(), (got - after).abs()), 0 * got)
    else:
        assert (got - reference(image, name, strength)).abs().max() <= 2e-6


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", policies.DRAWN_OPS)
def test_every_strength_of_trivial_augment_equals_torchvision_s(
    name: str, shape: tuple[int, ...]
) -> None:
    """31 strengths, both signs: the row that the draws pick is torchvision's operation."""
    magnitudes, signed = autoaugment.TrivialAugmentWide()._augmentation_space(31)[TORCHVISION[name]]
    position = policies.DRAWN_OPS.index(name)
    image = images(0, 1, shape)
    for step in range(31):
        for sign in (1, -1):
            # The middle of each interval of the unit draws.
            u = [(position + 0.5) / 14, (step + 0.5) / 31, 0.25 if sign == 1 else 0.75]
            got = policies.trivial_augment(image.float() / 255, torch.tensor([u]))[0]
            strength = float(magnitudes[step]) if magnitudes.ndim else 0.0
            if name.startswith("translate"):
                strength = small_translation(step, shape[-1 if name == "translate_x" else -2])
            assert_same_image(got, image[0], name, sign * strength if signed else strength)


def small_translation(step: int, side: int) -> float:
    """Ours: at most the image's side. (Its linspace has 15.999999 for 16 pixels in the middle.)"""
    return float(min(32, side) * step // 30)


@pytest.mark.parametrize("sign", [1, -1])
def test_inversion_and_flat_channels(sign: int) -> None:
    """AutoAugment's invert is 1 - x; a flat channel has no contrast to stretch or to equalize."""
    flat = torch.full((1, 3, 32, 32), 0.5 + 0.1 * sign)
    unused = torch.ones(1, 6)
    assert torch.equal(IMAGE_OPS["invert"](flat, unused), 1 - flat)
    assert torch.equal(IMAGE_OPS["autocontrast"](flat, unused), flat)
    assert torch.equal(IMAGE_OPS["equalize"](flat, unused), flat)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_equalize_equals_torchvision_s_on_few_and_many_levels(levels: int) -> None:
    """Pillow's rule counts the brightest value apart: it shows where that value is common."""
    source = torch.Generator().manual_seed(levels)
    image = torch.randint(levels, (6, 3, 20, 20), generator=source).to(torch.uint8)
    got = IMAGE_OPS["equalize"](image.float() / 255, torch.ones(6, 6))
    assert torch.equal(got, tv.equalize(image).float() / 255)


AUGMENTATIONS = catalogue.entries("augmentation")
TRANSFORMS = sorted(
    name
    for name, entry in AUGMENTATIONS.items()
    if name != "none" and not entry.mixes and "image" in entry.data
)


def transform(name: str) -> Augmentation:
    found = augment.part(name, TrainConfig())
    assert isinstance(found, Augmentation)
    return found


@pytest.mark.parametrize("shape", [*SHAPES, (3, 11, 7)], ids=str)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_sample_s_augmentation_does_not_depend_on_its_batch(
    name: str, shape: tuple[int, ...]
) -> None:
    """However the rows are cut, each comes out the same to the last bit."""
    chosen = transform(name)
    x = images(3, 61, shape).float() / 255
    u = uniforms(4, 61, chosen.width)
    together = chosen.apply(x, u)
    for cut in (1, 2, 17):
        parts = [chosen.apply(a, b) for a, b in zip(x.split(cut), u.split(cut), strict=True)]
        assert torch.equal(torch.cat(parts), together)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_augmentation_keeps_range_shape_and_input(name: str) -> None:
    """Images stay in 0..1, and the caller's own are not written to."""
    chosen = transform(name)
    x = torch.cat([uniforms(5, 40, 3, 16, 16), torch.zeros(2, 3, 16, 16), torch.ones(2, 3, 16, 16)])
    before = x.clone()
    got = chosen.apply(x, uniforms(6, 44, chosen.width))
    assert got.shape == x.shape
    assert 0.0 <= float(got.min()) <= float(got.max()) <= 1.0
    assert not torch.equal(got, x)
    assert torch.equal(x, before)
    assert chosen.apply(x.double(), uniforms(6, 44, chosen.width)).dtype == torch.float64


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8)], ids=str)
def test_the_form_for_accelerators_equals_the_sorted_one(shape: tuple[int, ...]) -> None:
    """Picking among all results, without reading the draws, is the same to the last bit."""
    table = policies._drawn_table(True, *shape[1:], torch.device("cpu"))
    rows = torch.randint(14 * 62, (300,), generator=torch.Generator().manual_seed(7))
    x = images(8, 300, shape).float() / 255
    kinds, p = table.kinds[rows], table.parameters[rows]
    apart = policies.sorted_by_kind(x, kinds, p)
    assert torch.equal(apart, policies.all_kinds(x, kinds, p, table.used))


@pytest.mark.parametrize(("side", "pad"), [(32, 4), (28, 3), (8, 1)])
def test_flip_crop_shifts_by_each_offset_and_mirrors_half(side: int, pad: int) -> None:
    """Mirror, pad by an eighth, take a window: as slicing does it, at every offset."""
    span = 2 * pad + 1
    grid = [(f, t, c) for f in (0.49, 0.5) for t in range(span) for c in range(span)]
    u = torch.tensor([[f, (t + 0.5) / span, (c + 0.5) / span] for f, t, c in grid])
    x = uniforms(9, len(grid), 3, side, side)
    got = transform("flip_crop").apply(x, u)
    for m, (mirror, top, left) in enumerate(grid):
        canvas = torch.zeros(3, side + 2 * pad, side + 2 * pad)
        canvas[:, pad : pad + side, pad : pad + side] = x[m].flip(-1) if mirror < 0.5 else x[m]
        assert torch.equal(got[m], canvas[:, top : top + side, left : left + side])
