"""scikit-learn's digits: 1,797 grey images of 8x8 in ten classes, installed with scikit-learn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from trainers.config import DataConfig
from trainers.data.dataset import Dataset, fingerprint, image_dataset
from trainers.data.files import refusal, refuse_unused
from trainers.data.labels import encode
from trainers.data.splits import pick


def load(config: DataConfig) -> Dataset:
    """Loads the images, with their grey levels 0..16 scaled to 0..1."""
    refuse_unused(config)
    rows = np.loadtxt(_file(), delimiter=",")
    images = (rows[:, :-1] / 16).astype(np.float32).reshape(-1, 8, 8)
    labels = rows[:, -1].astype(np.int64)
    names = tuple(str(digit) for digit in range(10))
    y, classes, left_out = encode(
        {"train": labels}, names, refusal(config, "dataset"), least=config.min_per_class
    )
    picks = pick(y, config, content=fingerprint(classes, images, y["train"]))
    return image_dataset(
        "digits",
        {split: images[chosen] for split, (_, chosen) in picks.items()},
        {split: y["train"][chosen] for split, (_, chosen) in picks.items()},
        classes=classes,
        left_out=left_out,
    )


def _file() -> Path:
    """The path of scikit-learn's file; importing scikit-learn would take each worker a second."""
    found = find_spec("sklearn")
    assert found is not None  # noqa: S101  a dependency of ours
    assert found.origin is not None  # noqa: S101
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
