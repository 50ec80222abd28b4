"""Checks before training: each line names key and value, and what can be used instead."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from small_packs import config, images, table

from trainers.augment import AUGMENTATIONS
from trainers.check import FOR_TABLES, KIND_OF_MODEL, MIXERS, NAMES, check
from trainers.config import Config, ConfigError
from trainers.losses import LOSSES
from trainers.models import MODELS
from trainers.ssl import SSL_LOSSES

BAD = [
    ({"model": "resnt"}, "train.model", "the nearest is 'resnet'"),
    ({"model": "mlp"}, "train.model", "data of kind image; use 'resnet'"),
    ({"loss": "cross-entropy"}, "train.loss", "the nearest is 'cross_entropy'"),
    ({"augmentation": "flip_crop+mixap"}, "train.augmentation", "the nearest is 'mixup'"),
    ({"augmentation": "mixup+flip_crop"}, "train.augmentation", "one mixer"),
    ({"ssl": {"loss": "simclear"}}, "train.ssl.loss", "the nearest is 'simclr'"),
    ({"depth": 9}, "train.depth", "the nearest is 8"),
    ({"depth": 31}, "train.depth", "the nearest is 32"),
    ({"batch_size": 1}, "train.batch_size", "norm: group"),
    ({"batch_size": 999}, "train.batch_size", "more than the 44 samples"),
    ({"ssl": {"weight": 0.1, "batch_multiple": 9}}, "train.ssl.batch_multiple", "batches of 72"),
    ({"ssl": {"weight": 0.1}, "batch_size": 1, "norm": "group"}, "train.ssl", "a single sample"),
    ({"warmup_epochs": 2.0}, "train.warmup_epochs", "less than the run's 2 epochs"),
    ({"warmup_epochs": 2.0, "steps": 12}, "train.warmup_epochs", "run's 12 steps, at 6 an epoch"),
    ({"ratio": 0.3, "batch_size": 5, "ssl": {"weight": 0.1, "batch_multiple": 7}},
     "train.ssl.batch_multiple", "batches of 42, more than the 36"),
]  # fmt: skip


@pytest.mark.parametrize(("train", "key", "reason"), BAD)
def test_what_cannot_run_is_named(train: dict[str, Any], key: str, reason: str) -> None:
    """One line has the key, the value, and a valid value."""
    with pytest.raises(ConfigError) as caught:
        check(config(**train), images().facts)
    assert caught.value.key.startswith(key)
    assert reason in caught.value.reason
    assert repr(caught.value.value) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train", "key"),
    [({"model": "resnet"}, "train.model"), ({"augmentation": "cutmix"}, "train.augmentation")],
)
def test_images_only_means_no_tables(train: dict[str, Any], key: str) -> None:
    """Convolutions and crops make no sense of columns."""
    with pytest.raises(ConfigError) as caught:
        check(config(**dict[str, Any](model="mlp") | train), table().facts)
    assert caught.value.key == key


def test_a_ratio_that_the_profile_ignores_is_refused() -> None:
    """A sweep of ratios over the natural pool would train one subset many times."""
    natural = Config.model_validate({"data": {"imbalance": {"train_ratio": 0.1}}})
    with pytest.raises(ConfigError, match="use exponential or step"):
        check(natural, images().facts)
    fixed = Config.model_validate({"data": {"imbalance": {"draw": "fixed"}}})
    with pytest.raises(ConfigError, match="draws no subset"):
        check(fixed, images().facts)
    assert check(Config.model_validate({"train": {"batch_size": 8}}), images().facts) == (20,) * 3


def test_a_warm_up_shorter_than_the_step_budget_can_run() -> None:
    """Two epochs of 6 steps fit in 13 steps, and no warm-up fits in any."""
    assert check(config(steps=13, warmup_epochs=2.0), images().facts)
    assert check(config(steps=1), images().facts)


def test_what_can_run_gives_its_class_counts() -> None:
    """The long tail of 20 samples a class at ratio 0.5."""
    assert check(config(), images().facts) == (20, 14, 10)


def test_names_are_those_of_the_registries() -> None:
    """The check needs no torch, so it carries their keys; they may not drift."""
    assert set(NAMES["train.loss"]) == set(LOSSES)
    assert set(NAMES["train.ssl.loss"]) == set(SSL_LOSSES)
    assert set(NAMES["train.augmentation"]) == set(AUGMENTATIONS)
    assert {name: model.kind for name, model in MODELS.items()} == KIND_OF_MODEL
    assert set(MIXERS) == {n for n, a in AUGMENTATIONS.items() if hasattr(a, "mix")}
    assert set(FOR_TABLES) == {n for n, a in AUGMENTATIONS.items() if not a.images_only}


def test_a_network_that_a_plug_in_registers_can_be_used(monkeypatch) -> None:
    """By its name and for its kind of data, as those that come with the trainer."""
    monkeypatch.setitem(MODELS, "mine", type("Mine", (MODELS["resnet"],), {}))
    assert check(config(model="mine"), images().facts)
    with pytest.raises(ConfigError, match="use 'mlp'"):
        check(config(model="mine"), table().facts)


def test_checking_loads_no_torch() -> None:
    """A wrong key is reported before anything heavy is imported."""
    code = "import sys, trainers.check, trainers.streams; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
