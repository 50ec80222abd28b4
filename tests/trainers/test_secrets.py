"""A data path may lead to a file of secrets: it is refused, and nothing of its content is shown."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.config import ConfigError
from trainers.data import load
from trainers.data.columns import Encoder, NumberScale
from trainers.data.unseen import Inputs, read
from trainers.data_config import DATA_ROOTS, DataConfig

SECRET = "hunter2"  # noqa: S105
# What may lie behind a link: forms of files that hold passwords, keys and settings.
FILES = {
    "one word": "hunter2\n",
    "two lines": "hunter2\nhunter2\n",
    "environment": "export TOKEN=hunter2\nexport OTHER=x\n",
    "pgpass": "localhost:5432:db:me:hunter2\nother:5432:db:me:hunter2\n",
    "ini": "[default]\naws_secret_access_key = hunter2\n",
    "commas": "me,hunter2\nroot:x:0:0:root,,,:/root:/bin/bash\n",
    "commas below": "user,password,note\nme,hunter2\n",
    "json": '{"password": "hunter2", "user": "me"}\n{}\n',
    "key": "-----BEGIN " + "PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
    "binary": "hunter2\0\1\2,\0\n\0",
}
KINDS = {
    "table.csv": "data.path",
    "table.csv.gz": "data.path",
    "table.parquet": "data.path",
    "images.parquet": "data.path",
    "archive.npz": "data.path",
    "labels.csv": "data.labels",
    "folder/cat/a.jpg": "data.path",
    "mnist": "data.path",
}


def config(link: Path, name: str) -> DataConfig:
    """A `data` block that leads to `link` as the file `name`."""
    folder = link.parent
    if name == "labels.csv":
        (folder / "pictures").mkdir()
        return DataConfig(dataset="folder", path=str(folder / "pictures"), labels=str(link))
    if name.startswith("folder"):
        return DataConfig(dataset="folder", path=str(folder.parent))
    if name == "mnist":
        return DataConfig(dataset="mnist", path=str(folder.parents[1]))
    kind = {"images.parquet": "images", "archive.npz": "npz"}.get(name, "table")
    target: dict[str, Any] = {"target": "y"} if kind == "table" else {}
    return DataConfig(dataset=kind, path=str(link), **target)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("content", FILES)
def test_a_file_that_is_no_data_is_refused_without_a_word_of_it(
    name: str, content: str, tmp_path: Path
) -> None:
    """This holds for every form that the spec may name."""
    secret = tmp_path / "secret"
    secret.write_text(FILES[content])
    inner = "MNIST/raw/train-images-idx3-ubyte" if name == "mnist" else name
    link = tmp_path / "data" / inner
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)
    with pytest.raises(ConfigError) as caught:
        load(config(link, name))
    said = str(caught.value).replace(str(tmp_path), "")
    assert said.startswith(KINDS[name])
    assert not [
        word for word in (SECRET, "root", "secret", "BEGIN", "default", "TOKEN") if word in said
    ]


def test_a_packed_csv_that_is_not_packed_shows_none_of_its_bytes(tmp_path: Path) -> None:
    """Python's own message has the first two."""
    path = tmp_path / "table.csv.gz"
    path.write_text("Zq is how it begins")
    with pytest.raises(ConfigError, match="it is not packed by gzip") as caught:
        load(DataConfig(dataset="table", path=str(path), target="y"))
    assert "Zq" not in str(caught.value)


def test_a_line_of_other_length_is_told_by_its_number_of_columns(tmp_path: Path) -> None:
    """Arrow's own message quotes the line."""
    path = tmp_path / "table.csv"
    path.write_text("a,y\n1,2\nhunter2\n")
    with pytest.raises(ConfigError, match="a line has 1 columns, the first line has 2") as caught:
        load(DataConfig(dataset="table", path=str(path), target="y"))
    assert SECRET not in str(caught.value)


def test_a_table_of_one_column_is_predicted_where_the_model_takes_it(tmp_path: Path) -> None:
    """One column without a comma is any text, unless it is called as the model's."""
    encoder = Encoder({"width": NumberScale(0.0, 1.0, marks_missing=False)}, {})
    inputs = Inputs("table", (), np.empty(0), np.empty(0), encoder, "y")
    path = tmp_path / "new.csv"
    path.write_text("width\n1\n2\n")
    assert len(read(path, inputs, ("a", "b"))) == 2
    path.write_text("hunter2\n1\n")
    with pytest.raises(ConfigError, match="is no table") as caught:
        read(path, inputs, ("a", "b"))
    assert SECRET not in str(caught.value)


# --- a root of all data


ROWS = "x,z,y\n" + "".join(f"{row * 7 % 5},{row % 3},{'ab'[row % 2]}\n" for row in range(60))


def table(path: Path) -> DataConfig:
    return DataConfig(dataset="table", path=str(path), target="y")


@pytest.mark.parametrize("root", DATA_ROOTS)
def test_nothing_outside_of_the_data_root_is_read(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by its path, nor by `..`, nor by a link; what lies inside is read."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "t.csv").write_text(ROWS)
    (inside / "link.csv").symlink_to(outside / "t.csv")
    (inside / "turn.csv").symlink_to(inside / "t.csv")
    monkeypatch.setenv(root, str(inside))
    assert load(table(inside / "t.csv")).classes == load(table(inside / "turn.csv")).classes
    for path in (outside / "t.csv", inside / ".." / "outside" / "t.csv", inside / "link.csv"):
        with pytest.raises(ConfigError, match=rf"does not lie in {root}=.*links resolved"):
            load(table(path))


def test_the_root_of_the_machine_and_that_of_the_job_hold_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job cannot widen what the worker's machine allows."""
    (tmp_path / "in").mkdir()
    (tmp_path / "t.csv").write_text(ROWS)
    (tmp_path / "in" / "t.csv").write_text(ROWS)
    own, job = DATA_ROOTS
    monkeypatch.setenv(own, str(tmp_path / "in"))
    monkeypatch.setenv(job, str(tmp_path))
    load(table(tmp_path / "in" / "t.csv"))
    with pytest.raises(ConfigError, match=own):
        load(table(tmp_path / "t.csv"))


def test_a_link_out_of_an_image_set_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder lies in the root, and a file in it does not."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (tmp_path / "outside.gz").write_bytes(gzip.compress(b"x"))
    (raw / "train-images-idx3-ubyte.gz").symlink_to(tmp_path / "outside.gz")
    monkeypatch.setenv(DATA_ROOTS[0], str(tmp_path / "data"))
    with pytest.raises(ConfigError, match="does not lie in"):
        load(DataConfig(dataset="mnist", path=str(tmp_path / "data")))


def test_a_root_that_is_no_folder_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt root would otherwise allow or forbid by chance."""
    (tmp_path / "t.csv").write_text(ROWS)
    monkeypatch.setenv(DATA_ROOTS[0], str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="is not a folder"):
        load(table(tmp_path / "t.csv"))
