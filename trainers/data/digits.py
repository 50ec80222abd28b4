"""scikit-learn's digits: 1,797 grey images of 8x8, ten classes; comes with pip."""

from __future__ import annotations

import numpy as np

from trainers.config import DataConfig
from trainers.data.dataset import Dataset, fingerprint, image_dataset
from trainers.data.files import refuse_unused
from trainers.data.splits import pick


def load(config: DataConfig) -> Dataset:
    """The images, with their grey levels 0..16 brought to 0..1."""
    refuse_unused(config)
    from sklearn.datasets import load_digits

    flat, digits = load_digits(return_X_y=True)
    images = (np.asarray(flat) / 16).astype(np.float32).reshape(-1, 8, 8)
    labels = np.asarray(digits)
    classes = tuple(str(digit) for digit in range(10))
    picks = pick({"train": labels}, config, content=fingerprint(classes, images, labels))
    x = {split: images[chosen] for split, (_, chosen) in picks.items()}
    y = {split: labels[chosen] for split, (_, chosen) in picks.items()}
    return image_dataset("digits", x, y, classes=classes)
