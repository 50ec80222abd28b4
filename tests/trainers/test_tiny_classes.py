"""Classes that are too small to use: left out by name, or refused with what would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.check import check, check_objective
from trainers.config import Config, ConfigError
from trainers.data import load
from trainers.data_config import DataConfig
from trainers.notes import notes

COUNTS = {"a": 60, "b": 3, "c": 40, "d": 1}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Images whose only grey level is their class."""
    y = np.repeat(np.arange(4), list(COUNTS.values()))
    x = np.broadcast_to(10 * y[:, None, None], (len(y), 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", images=x, labels=y, split=np.zeros(len(y), int), classes=[*COUNTS])
    return tmp_path / "d.npz"


def test_small_classes_are_left_out_of_every_split_by_name(archive: Path) -> None:
    """They are counted in the whole file, before any split; the others keep their samples."""
    dataset = load(DataConfig(dataset="npz", path=str(archive), min_per_class=4))
    assert dataset.classes == ("a", "c")
    assert dataset.facts["left_out"] == {"b": 3, "d": 1}
    assert np.sum([*dataset.facts["counts"].values()], axis=0).tolist() == [60, 40]
    for split, y in dataset.y.items():
        assert dataset.x[split][:, 0, 0, 0].tolist() == (20 * y).tolist()
    assert notes(dataset.facts)[0] == (
        "2 classes are left out, with fewer samples than data.min_per_class: 'b' (3), 'd' (1)."
    )


def test_a_class_of_exactly_so_many_samples_stays(archive: Path) -> None:
    """Fewer than three is left out, three are not."""
    dataset = load(DataConfig(dataset="npz", path=str(archive), min_per_class=3))
    assert dataset.classes == ("a", "b", "c")


@pytest.mark.parametrize(("least", "left"), [(50, 1), (61, 0)])
def test_two_classes_must_be_left(archive: Path, least: int, left: int) -> None:
    """One class alone is nothing to learn."""
    with pytest.raises(ConfigError, match=rf"has {left} class(es)? of at least {least} training"):
        load(DataConfig(dataset="npz", path=str(archive), min_per_class=least))


def test_a_class_without_training_samples_can_be_left_out(tmp_path: Path) -> None:
    """A file may name classes that it has no samples of; its test samples of them go too."""
    x, y = np.zeros((40, 4, 4), np.uint8), np.arange(40) % 2
    np.savez(
        tmp_path / "d.npz", x_train=x, y_train=y, x_test=x[:9], y_test=np.arange(9) % 3,
        classes=["a", "b", "c"],
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"of class 'c': .* set data\.min_per_class: 1"):
        load(DataConfig(dataset="npz", path=str(tmp_path / "d.npz")))
    dataset = load(DataConfig(dataset="npz", path=str(tmp_path / "d.npz"), min_per_class=1))
    assert (dataset.classes, len(dataset.y["test"])) == (("a", "b"), 6)


def test_the_natural_pool_takes_a_class_of_one_sample(archive: Path) -> None:
    """What the messages offer does run: as the pool is, or without the small classes."""
    data: dict[str, Any] = {"dataset": "npz", "path": str(archive)}
    tail = {"imbalance": {"profile": "exponential", "train_ratio": 0.2}}

    def counts(**more: object) -> tuple[int, ...]:
        config = Config.model_validate({"data": data | more, "train": {"batch_size": 8}})
        return check(config, load(config.data).facts)

    assert counts()[3] == 1
    (told,) = [one for one in notes(load(DataConfig(**data)).facts) if "no test sample" in one]
    assert told == "1 class has no test sample, and so no part in any result: 'd'."
    assert counts(min_per_class=4, **tail) == (26, 5)
    with pytest.raises(ConfigError, match="here 'b', 'd' with 1 sample"):
        counts(**tail)


@pytest.mark.parametrize("metric", ["minority_accuracy", "majority_accuracy"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_an_objective_without_a_sample_to_measure_is_refused(metric: str, split: str) -> None:
    """A sweep of it would train to the end, and not have one number to compare."""
    held = {"val": [3, 3, 3], "test": [9, 9, 9]}
    absent = 2 if metric == "minority_accuracy" else 0
    held[split][absent] = 0
    facts = {"classes": ("a", "b", "c"), "counts": {"train": [9, 5, 1]} | held}
    with pytest.raises(ConfigError, match=rf"no value on {split}, .* here '{'abc'[absent]}': "):
        check_objective(metric, (9, 5, 1), facts)
    check_objective("balanced_accuracy", (9, 5, 1), facts)
    del facts["counts"][split]
    check_objective(metric, (9, 5, 1), facts)


def test_one_class_of_the_group_is_enough_to_measure_it() -> None:
    """Means over classes leave out those without samples, and say so elsewhere."""
    facts = {"classes": tuple("abcdef"), "counts": {"test": [4, 4, 4, 4, 4, 0]}}
    check_objective("minority_accuracy", (9, 8, 7, 6, 2, 1), facts)
