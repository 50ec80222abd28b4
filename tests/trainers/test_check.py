"""Checks before training: each line names key and value, and what can be used instead."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError
from small_packs import config, images, table

from trainers import catalogue
from trainers.augment import Mixer, part
from trainers.blocks import Block, PerMember
from trainers.catalogue import Entry
from trainers.check import check
from trainers.config import Config, ConfigError, TrainConfig, pack_key
from trainers.models.resnet import ResNet

BAD = [
    ({"model": "resnt"}, "train.model", "the nearest is 'resnet'"),
    ({"model": "mlp"}, "train.model", "which are images: use resnet"),
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
    ({"loss": "ldam"}, "train.loss", "needs train.head: cosine"),
    ({"ssl": {"weight": 0.1, "loss": "scarf"}}, "train.ssl.loss",
     "which are images: use simclr, vicreg, barlow_twins, byol, masked"),
    ({"ssl": {"weight": 0.1, "loss": "vime"}}, "train.ssl.loss", "which are images: use simclr"),
    ({"gradient": "class_normalised", "sam": {"radius": 0.1}}, "train.sam.radius",
     "does not fit train.gradient: class_normalised: use 0, or train.gradient: mean"),
    ({"accumulation": 5}, "train.accumulation",
     "parts of 1 sample of a batch of 8; batch norm needs 2; use 4 or less"),
    ({"accumulation": 9, "norm": "group"}, "train.accumulation", "parts of 0 samples of a batch "
     "of 8; use 8 or less"),
    ({"accumulation": 8, "norm": "group", "ssl": {"weight": 0.1}}, "train.accumulation",
     "parts of a single sample, but it compares samples; use 4 or less"),
    ({"loss": "focl"}, "train.loss", "the nearest is 'focal'"),
    ({"sampler": "balance"}, "train.sampler", "the nearest is 'balanced'"),
    ({"sam": {"method": "asm"}}, "train.sam.method", "the nearest is 'asam'"),
    ({"optimizer": "adam"}, "train.optimizer", "the nearest is 'adamw'"),
]  # fmt: skip
TABLES_BAD = [
    ({"model": "resnet"}, "train.model", "which are a table: use mlp"),
    ({"augmentation": "cutmix"}, "train.augmentation", "use none, mixup"),
    ({"augmentation": "erasing"}, "train.augmentation", "use none, mixup"),
    ({"ssl": {"weight": 0.1, "loss": "masked"}}, "train.ssl.loss",
     "use simclr, vicreg, barlow_twins, byol, scarf, vime"),
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


@pytest.mark.parametrize(("train", "key", "reason"), TABLES_BAD)
def test_images_only_means_no_tables(train: dict[str, Any], key: str, reason: str) -> None:
    """Convolutions, crops and patches make no sense of columns."""
    with pytest.raises(ConfigError) as caught:
        check(config(**dict[str, Any](model="mlp") | train), table().facts)
    assert caught.value.key == key
    assert reason in caught.value.reason


def test_what_is_switched_off_need_not_fit() -> None:
    """An SSL loss without weight and a sharpness method without radius are not used."""
    assert check(config(ssl={"loss": "scarf"}), images().facts)
    assert check(config(gradient="class_normalised", sam={"method": "asam"}), images().facts)
    assert check(config(accumulation=4, norm="group"), images().facts)


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


def test_every_entry_of_the_catalogue_can_be_loaded() -> None:
    """The catalogue needs no torch, so it names what makes a part; each name must be there."""
    for kind in catalogue.KEYS:
        for name, entry in catalogue.entries(kind).items():
            made = entry.load()
            assert made is not None or kind == "model"
            assert kind != "model" or callable(catalogue.trainer_of(name))
            assert entry.meaning.endswith("."), name


def test_mixers_are_marked_in_the_catalogue() -> None:
    """The check that one comes last reads the mark, the policy what the part is."""
    for name, entry in catalogue.entries("augmentation").items():
        assert isinstance(part(name, TrainConfig()), Mixer) == entry.mixes, name


@pytest.fixture
def own_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue to which a test may add; afterwards it is as before."""
    monkeypatch.setattr(catalogue, "_ENTRIES", dict(catalogue._ENTRIES))


@pytest.mark.usefixtures("own_catalogue")
def test_a_network_that_a_plug_in_adds_can_be_used() -> None:
    """By its name and for its kind of data, as those that come with the trainer."""
    catalogue.add(Entry("model", "mine", type("Mine", (ResNet,), {}), data=("image",)))
    assert check(config(model="mine"), images().facts)
    with pytest.raises(ConfigError, match="does not fit these data, which are a table: use mlp"):
        check(config(model="mine"), table().facts)


@pytest.mark.usefixtures("own_catalogue")
def test_an_entry_owns_its_parameters() -> None:
    """They are keys of `train` under its name, checked, and a part of the run's identity."""

    class Mine(Block):
        strength: Annotated[float, Field(ge=0.0), PerMember()] = 1.0
        kind: Literal["a", "b"] = "a"

    catalogue.add(Entry("loss", "mine", object, parameters=Mine))
    assert TrainConfig().parameters("mine") == Mine()
    assert config(mine={"strength": 2.0}).train.parameters("mine").strength == 2.0
    with pytest.raises(ValidationError) as caught:
        config(mine={"strength": -1.0, "odd": 1}, other=2)
    places = sorted(error["loc"] for error in caught.value.errors())
    assert places == [("train", "mine", "odd"), ("train", "mine", "strength"), ("train", "other")]
    plain, default = config(), config(mine={"kind": "a"})
    assert plain.identity() == default.identity()
    assert plain.identity() != config(mine={"kind": "b"}).identity()
    weak, strong = (config(mine={"strength": s, "kind": "b"}) for s in (1.5, 2.5))
    assert pack_key(weak) == pack_key(strong) != pack_key(default)
    assert pack_key(config(mine={"strength": 2.0})) == pack_key(plain)


def test_an_entry_needs_a_known_kind_and_a_free_name() -> None:
    """A plug-in cannot take the place of another entry unawares."""
    with pytest.raises(ValueError, match="no kind of entry; there are model, loss"):
        catalogue.add(Entry("lossy", "mine", object))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a loss 'cross_entropy' already; use another name"):
        catalogue.add(Entry("loss", "cross_entropy", object))


def test_checking_loads_no_torch() -> None:
    """A wrong key is reported before anything heavy is imported."""
    code = "import sys, trainers.check, trainers.streams; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
