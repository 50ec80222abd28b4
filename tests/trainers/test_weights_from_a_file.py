"""Runs that start from a file of weights: what is taken, what identifies it, what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_packs import config, images, pack, parameters_of, train_steps

from sweeper import spec
from sweeper.analysis.factors import show
from trainers import catalogue, weight_files
from trainers.catalogue import Entry
from trainers.config import Config, ConfigError, pack_key
from trainers.loop import PackTrainer
from trainers.models.module import network
from trainers.saved import save

DATA = images(channels=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model saved by a run of other classes."""
    other = images(channels=3, classes=4, seed=9)
    trainer = pack(other, config(norm_statistics="running"))
    result = None
    while trainer.round < trainer.rounds:
        (result,) = trainer.train_round()
    assert result is not None
    save(tmp_path, trainer, other, result)
    of_long_ago(tmp_path / "model.safetensors")
    return tmp_path


def of_long_ago(file: Path) -> None:
    """Sets the file's time back: it would be that of a change soon after, by a coarse clock."""
    os.utime(file, (0, 0))


def started(path: Path, *more: Config, **train: Any) -> PackTrainer:
    one = config(weights=weight_files.pinned(str(path)), norm_statistics="running", **train)
    return pack(DATA, one, *more)


def test_every_layer_but_the_head_is_the_files(folder: Path) -> None:
    trainer = started(folder / "model.safetensors", ssl={"weight": 0.5})
    drawn = pack(DATA, config(norm_statistics="running", ssl={"weight": 0.5}))
    file, own = load_file(folder / "model.safetensors"), parameters_of(trainer, 0)
    for name, value in own.items():
        fresh = name.startswith(("head.", "projector."))
        expected = parameters_of(drawn, 0)[name] if fresh else file[name].view_as(value)
        assert torch.equal(value, expected), name
    statistics = trainer.pack.statistics
    for name, mean in statistics.layout.split(statistics.mean).items():
        assert torch.equal(mean[0], file[f"{name}.mean"])


def test_a_frozen_body_stays_that_of_the_file(folder: Path) -> None:
    trainer = started(folder / "model.safetensors", body_lr=0.0)
    before = parameters_of(trainer, 0)
    train_steps(trainer, 2)
    for name, value in parameters_of(trainer, 0).items():
        assert torch.equal(value, before[name]) != name.startswith("head."), name


def test_the_content_belongs_to_the_identity_and_the_place_does_not(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file, elsewhere = folder / "model.safetensors", tmp_path_factory.mktemp("two") / "a.safetensors"
    elsewhere.write_bytes(file.read_bytes())
    of_long_ago(elsewhere)
    one, same = (config(weights=weight_files.pinned(str(path))) for path in (file, elsewhere))
    assert one.identity() == same.identity()
    assert pack_key(one) == pack_key(same)
    tensors = load_file(file)
    save_file({name: tensor + 1.0 for name, tensor in tensors.items()}, elsewhere)
    assert config(weights=weight_files.pinned(str(elsewhere))).identity() != one.identity()
    assert "weights" not in config().identity()["train"]


def test_a_module_takes_the_names_of_its_own_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "_ENTRIES", dict(catalogue._ENTRIES))

    def two_layers(inputs: tuple[int, ...], classes: int) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Conv2d(inputs[0], 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, classes)
        )

    catalogue.add(Entry("model", "two_layers", network(two_layers), uses=("body_lr",)))
    source = two_layers((3, 8, 8), 7)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    trainer = pack(
        DATA,
        config(
            model="two_layers",
            weights=weight_files.pinned(str(tmp_path / "w.safetensors")),
            body_lr=0.0,
        ),
    )
    train_steps(trainer, 1)
    own = parameters_of(trainer, 0)
    assert torch.equal(own["module.0.weight"], source.state_dict()["0.weight"])
    assert own["module.2.weight"].shape == (3, 144)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("stem.weight"), "has no layer 'stem.weight'; its first are"),
        (
            lambda t: t.update({"stem.weight": torch.zeros(2, 3, 3, 3)}),
            "its layer 'stem.weight' has the shape 2x3x3x3, and the network's",
        ),
    ],
)
def test_what_does_not_fit_names_the_first_layer(folder: Path, change, message: str) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(ConfigError, match=r"train\.weights") as error:
        started(file)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.pt", b"\x80\x04", "is no .safetensors file, and nothing is unpickled"),
        ("w.safetensors", b"\x05\0\0\0\0\0\0\0hello", "is no file of the format safetensors"),
        ("w.safetensors", None, "cannot be read: is there such a file?"),
    ],
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as error:
        started(tmp_path / name)
    assert message in str(error.value)


def test_a_file_that_has_changed_is_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    one = config(weights=weight_files.pinned(str(file)))
    tensors = load_file(file)
    save_file({name: tensor * 2.0 for name, tensor in tensors.items()}, file)
    with pytest.raises(ConfigError, match="has changed since the spec was read"):
        pack(DATA, one)


def test_a_spec_pins_its_files_wherever_they_stand(folder: Path) -> None:
    """Under train, in a named cell, and as levels; a reader sees the file's name."""
    text = """
        name: weights
        train: {weights: model.safetensors, epochs: 1}
        compare:
          - {name: from a file, train.weights: model.safetensors}
          - {name: drawn, train.weights: null}
    """
    pinned = weight_files.pinned(str(folder / "model.safetensors"))
    found = spec.parse(text, folder=str(folder))
    assert found.train.weights == pinned
    (first, second) = found.compare
    assert first.levels["train.weights"] == pinned
    assert second.levels["train.weights"] is None
    assert show(pinned) == "model.safetensors"
    level = "name: w\nscientific:\n  train.weights: [null, model.safetensors]\n"
    factor = spec.parse(level, folder=str(folder)).scientific["train.weights"]
    assert factor == (None, pinned)
