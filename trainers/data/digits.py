"""scikit-learn's digits: 1,797 grey images of 8x8 in ten classes, installed with scikit-learn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from trainers.data.dataset import Dataset, fingerprint, image_dataset
from trainers.data.files import refusal, refuse_unused
from trainers.data.labels import Labels, encode
from trainers.data.schema import Columns
from trainers.data.splits import pick
from trainers.data.table import encode_table
from trainers.data_config import DataConfig


def load(config: DataConfig) -> Dataset:
    """Loads the images, with their grey levels 0..16 scaled to 0..1."""
    rows, labels = _read(config)
    images = (rows / 16).astype(np.float32).reshape(-1, 8, 8)
    content = fingerprint(labels.classes, images, labels.y["train"])
    picks = pick(labels.y, config, content=content)
    return image_dataset(
        "digits",
        {split: images[chosen] for split, (_, chosen) in picks.items()},
        {split: labels.y["train"][chosen] for split, (_, chosen) in picks.items()},
        classes=labels.classes,
        left_out=labels.left_out,
    )


def load_table(config: DataConfig) -> Dataset:
    """Loads the same digits as rows of a table: 64 columns of grey levels, `pixel0` and so on."""
    rows, labels = _read(config)
    numbers = {f"pixel{at}": column for at, column in enumerate(rows.T)}
    content = fingerprint(labels.classes, rows, labels.y["train"])
    picks = pick(labels.y, config, content=content)
    return encode_table({"train": Columns(numbers, {})}, labels, picks, name="digits_table")


def _read(config: DataConfig) -> tuple[np.ndarray, Labels]:
    """The grey levels (N, 64) 0..16, and the digits."""
    refuse_unused(config)
    rows = np.loadtxt(_file(), delimiter=",")
    names = tuple(str(digit) for digit in range(10))
    y, classes, left_out = encode(
        {"train": rows[:, -1].astype(np.int64)},
        names,
        refusal(config, "dataset"),
        least=config.min_per_class,
    )
    return rows[:, :-1], Labels(y, classes, left_out)


def _file() -> Path:
    """The path of scikit-learn's file; importing scikit-learn would take each worker a second."""
    found = find_spec("sklearn")
    assert found is not None  # noqa: S101  a dependency of ours
    assert found.origin is not None  # noqa: S101
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
