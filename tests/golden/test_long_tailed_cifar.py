"""Long-tailed CIFAR as published, out of the loader: true sizes and labels, pixels that are blank.

CIFAR's own files are pickles that may not lie here; these have their form, their number of images
and their labels, and torchvision is given their hashes. Where SWEEPER_DATA has the real CIFAR-10,
its Parquet form gives the same counts.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from trainers.check import check
from trainers.config import Config
from trainers.data import load
from trainers.data.dataset import Dataset
from trainers.data.imbalance import draw_subset

CIFAR10_LT = {
    0.1: ([5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500], 20431),
    0.02: ([5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100], 13996),
    0.01: ([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50], 12406),
    0.005: ([5000, 2775, 1540, 854, 474, 263, 146, 81, 45, 25], 11203),
    0.001: ([5000, 2320, 1077, 500, 232, 107, 50, 23, 10, 5], 9324),
}
CIFAR100_LT = {0.1: (50, 19573), 0.02: (10, 12608), 0.01: (5, 10847), 0.005: (2, 9502)}


def _folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, files: dict[str, int]
) -> Path:
    """A folder as torchvision has it: file -> images, evenly over the classes, in mixed order."""
    kind = getattr(datasets, name)
    classes, key = (10, "labels") if name == "CIFAR10" else (100, "fine_labels")
    (folder / kind.base_folder).mkdir()
    rng, marks = np.random.default_rng(5), {}
    names = {kind.meta["key"]: [f"kind {c}" for c in range(classes)]}
    for file, images in files.items():
        labels = rng.permutation(np.arange(images) % classes).tolist()
        tree = {"data": np.zeros((images, 3072), dtype=np.uint8), key: labels}
        marks[file] = _written(folder / kind.base_folder / file, tree)
    mark = _written(folder / kind.base_folder / kind.meta["filename"], names)
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": mark})
    for part in ("train_list", "test_list"):
        listed = [[file, marks[file]] for file, _ in getattr(kind, part)]
        monkeypatch.setattr(kind, part, listed)
    return folder


def _written(path: Path, tree: Any) -> str:
    content = pickle.dumps(tree)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()  # noqa: S324


def _counts(dataset: Dataset, ratio: float) -> list[int]:
    """The samples of each class in the subset that a run draws."""
    imbalance = {"profile": "exponential", "train_ratio": ratio}
    counts = check(Config.model_validate({"data": {"imbalance": imbalance}}), dataset.facts)
    y = dataset.y["train"]
    drawn = draw_subset(y, counts, fingerprint=dataset.fingerprint, replicate=0)
    return np.bincount(y[drawn], minlength=len(dataset.classes)).tolist()


def _loaded(**data: Any) -> Dataset:
    return load(Config.model_validate({"data": data}).data)


def test_cifar10_with_validation_out_of_the_test_split_has_the_published_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5000 .. 50 at ratio 0.01, 12,406 images; 1,500 test images select, 8,500 are reported on."""
    files = {**{f"data_batch_{i}": 10_000 for i in range(1, 6)}, "test_batch": 10_000}
    folder = _folder(tmp_path, monkeypatch, name="CIFAR10", files=files)
    dataset = _loaded(dataset="cifar10", path=str(folder), val={"from": "test"})
    for ratio, (counts, total) in CIFAR10_LT.items():
        found = _counts(dataset, ratio)
        assert (found, sum(found)) == (counts, total)
    counts = dataset.facts["counts"]
    assert (counts["val"], counts["test"]) == ([150] * 10, [850] * 10)


def test_cifar100_without_validation_has_the_published_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 .. 5 at ratio 0.01, 10,847 images; all 10,000 test images are reported on."""
    folder = _folder(
        tmp_path, monkeypatch, name="CIFAR100", files={"train": 50_000, "test": 10_000}
    )
    dataset = _loaded(dataset="cifar100", path=str(folder), val="none")
    for ratio, expected in CIFAR100_LT.items():
        found = _counts(dataset, ratio)
        assert (found[0], found[-1], sum(found)) == (500, *expected)
    assert dataset.facts["counts"]["test"] == [100] * 100


@pytest.mark.soak
def test_the_real_cifar10_has_the_published_counts() -> None:
    """The JPEG form of the real images, whose class sizes are not made here."""
    folder = Path(os.environ.get("SWEEPER_DATA", "")) / "cifar10"
    if not (folder / "train.parquet").is_file():
        pytest.skip("SWEEPER_DATA does not name the folder of the real data sets")
    train, test = (str(folder / f"{name}.parquet") for name in ("train", "test"))
    dataset = _loaded(dataset="images", val="test", path=train, test_path=test)
    for ratio, (counts, _) in CIFAR10_LT.items():
        assert _counts(dataset, ratio) == counts
    assert dataset.facts["counts"]["test"] == [850] * 10
