"""Data sets of PyTorch as data sets of Sweeper."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import TensorDataset

from trainers.config import ConfigError
from trainers.data.torch_sets import from_torch

Pairs = list[tuple[Any, Any]]


def tensors(*shape: int, scale: float = 1.0) -> TensorDataset:
    """Eight samples of two classes, uniform in 0..`scale`."""
    x = torch.rand(8, *shape, generator=torch.Generator().manual_seed(3)) * scale
    return TensorDataset(x, torch.arange(8) % 2)


def pictures(*modes: str, size: tuple[int, int] = (5, 4)) -> Pairs:
    """PIL images of these modes, 5 pixels wide and 4 high."""
    return [(Image.new(mode, size, 100), i % 2) for i, mode in enumerate(modes)]


def labelled(label: int) -> list[tuple[Tensor, int]]:
    """One grey image of a class."""
    return [(torch.zeros(1, 2, 2), label)]


def test_tensors_of_images_are_kept_to_the_bit() -> None:
    """(C, H, W) in 0..1, and without validation there is no such split."""
    own = tensors(3, 4, 5)
    made = from_torch("t", train=own, test=own)
    assert made.kind == "image"
    assert sorted(made.x) == ["test", "train"]
    assert np.array_equal(made.x["train"], own.tensors[0].numpy())
    assert (made.classes, made.inputs) == (("0", "1"), (3, 4, 5))
    assert made.y["train"].tolist() == [0, 1] * 4


def test_uint8_and_images_without_channels() -> None:
    """(H, W) is grey, and uint8 stays."""
    x = torch.arange(40, dtype=torch.uint8).view(2, 4, 5)
    own = TensorDataset(x, torch.tensor([0, 1]))
    made = from_torch("t", train=own, val=own, test=own, classes=("a", "b"))
    assert made.x["val"].dtype == np.uint8
    assert np.array_equal(made.x["val"][:, 0], x.numpy())


def test_pictures_are_grey_unless_one_has_colours() -> None:
    """Colours make three channels of every picture; height comes first."""
    grey = from_torch("t", train=pictures("L", "L"), test=pictures("L", "1"))
    assert grey.inputs == (1, 4, 5)
    assert grey.x["train"][0, 0, 0, 0] == 100
    assert from_torch("t", train=pictures("L", "RGB"), test=pictures("L")).inputs == (3, 4, 5)


def test_rows_are_scaled_by_the_pool() -> None:
    """Every split by the mean and deviation of the pool."""
    train, test = tensors(3, scale=9.0), tensors(3, scale=2.0)
    made = from_torch("t", train=train, test=test)
    pool = train.tensors[0].numpy().astype(np.float64)
    wanted = (test.tensors[0].numpy() - pool.mean(0)) / pool.std(0)
    assert made.kind == "table"
    assert np.allclose(made.x["test"], wanted, atol=1e-6)


class Named(TensorDataset):
    classes = ("cat", "dog")


def test_classes_are_those_of_the_data_set() -> None:
    """As torchvision's data sets have them."""
    own = Named(*tensors(1, 2, 2).tensors)
    assert from_torch("t", train=own, test=own).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        (tensors(1, 4, 5, scale=3.0), "has pixels outside 0..1 in its split train: leave out"),
        (pictures("L") + pictures("L", size=(3, 3)), "of several shapes, (3, 3, 1) and (4, 5, 1)"),
        (tensors(1, 2, 3, 4), "has a sample of 4 dimensions"),
        (pictures("I"), "has an image of Pillow's mode I: convert it to RGB"),
        (labelled(0) + labelled(-1), "has labels outside 0 to 0 in its split train"),
    ],
)
def test_samples_that_do_not_fit_are_refused(train: Any, reason: str) -> None:
    """In one line, with what to do."""
    with pytest.raises(ConfigError) as caught:
        from_torch("mine", train=train, test=train)
    assert str(caught.value).startswith("data.dataset: 'mine' ")
    assert reason in str(caught.value)
