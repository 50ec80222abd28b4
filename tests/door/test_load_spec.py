"""A spec from a file, a shipped space, a dictionary or a text, with values put in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

import sweeper

TREE = {"name": "mine", "scientific": {"train.batch_size": [2, 8]}, "replicates": 3}
TEXT = "name: mine\nscientific:\n  train.batch_size: [2, 8]\nreplicates: 3\n"


@pytest.mark.parametrize("kind", ["text", "dict", "file", "path"])
def test_all_forms_give_the_same_spec(kind: str, tmp_path: Path) -> None:
    """A dictionary is what its YAML is."""
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT)
    source = {"text": TEXT, "dict": TREE, "file": str(file), "path": file}[kind]
    found, same = sweeper.load_spec(source), sweeper.load_spec(TEXT)
    assert found.model_dump() == same.model_dump()


def test_the_name_of_a_shipped_space_is_enough() -> None:
    """As in `sweeper launch batch_size`."""
    assert sweeper.load_spec("batch_size").name == "batch-size-digits"


@pytest.mark.parametrize(
    "set", [{"train.epochs": 5, "train.model": "mlp"}, ["train.epochs=5", "train.model=mlp"]]
)
def test_values_are_put_in_the_place_of_others(set) -> None:
    """By dotted key, as after --set."""
    spec = sweeper.load_spec(TREE, set=set)
    assert (spec.train.epochs, spec.train.model) == (5, "mlp")


def test_a_spec_can_be_changed_again() -> None:
    """What was set before stays."""
    spec = sweeper.load_spec(TREE, set={"train.epochs": 5})
    again = sweeper.load_spec(spec, set={"scientific.train.batch_size": [4, 16]})
    assert again.train.epochs == 5
    assert again.scientific["train.batch_size"] == (4, 16)
    assert spec.scientific["train.batch_size"] == (2, 8)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ({**TREE, "replicatse": 3}, r"<dict>:\d+: replicatse: no such key; did you mean 'replic"),
        ({**TREE, "train": {"lr": object()}}, "<dict>: Object of type object is not JSON"),
        ("nothing.yaml", "'nothing.yaml': no such file, and no shipped space"),
        ("name: mine\nname: other\n", r"<text>:2: name: "),
    ],
)
def test_what_is_wrong_is_one_line(source, line: str) -> None:
    """The same lines as on the command line, as an exception."""
    with pytest.raises(sweeper.InputError, match=line) as caught:
        sweeper.load_spec(source)
    assert all("\n" not in one for one in caught.value.lines)


def test_what_was_set_wrong_is_named() -> None:
    """Key, value and what is valid."""
    with pytest.raises(sweeper.SpecError, match=r"--set 'train\.epochs=0': train\.epochs: 0"):
        sweeper.load_spec(TREE, set={"train.epochs": 0})
