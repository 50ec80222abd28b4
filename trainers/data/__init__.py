"""Loads data sets: arrays, splits and imbalance. Needs numpy, never torch."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from trainers.config import ConfigError
from trainers.data import digits, folder, images, npz, stored, table, torchvision_sets
from trainers.data.dataset import SPLITS, Dataset
from trainers.data_config import DataConfig

__all__ = ["DATASETS", "SPLITS", "Dataset", "load"]


def load(config: DataConfig, *, fingerprint: str | None = None) -> Dataset:
    """Loads the whole data set that `config` names; its imbalance is drawn later, per replicate.

    Args:
        fingerprint: of the content, if it is known: a large data set that another process of this
            machine has loaded is not read again.

    Raises:
        ConfigError: with the key, the value and the fix.
    """
    there = None if fingerprint is None else stored.found(fingerprint)
    if there is not None:
        return there
    if config.dataset not in DATASETS:
        near = get_close_matches(config.dataset, DATASETS, n=1, cutoff=0.0)
        reason = f"is not a data set; the nearest is {near[0]!r}; there are {', '.join(DATASETS)}"
        raise ConfigError("data.dataset", config.dataset, reason)
    return stored.kept(DATASETS[config.dataset](config))


DATASETS: dict[str, Callable[[DataConfig], Dataset]] = {
    "digits": digits.load,
    "digits_table": digits.load_table,
    "npz": npz.load,
    "table": table.load,
    "images": images.load,
    "folder": folder.load,
    **dict.fromkeys(torchvision_sets.CIFAR, torchvision_sets.load_cifar),
    **dict.fromkeys(torchvision_sets.MNIST, torchvision_sets.load_mnist),
}
