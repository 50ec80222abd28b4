"""The image examples of docs/data.md, each of them run on small files of its form."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from trainers.__main__ import read
from trainers.data import SPLITS, load

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("## Images") : PAGE.index("## Splits")]
EXAMPLES = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
RNG = np.random.default_rng(2)
CLASSES = 3


def _image(label: int, size: tuple[int, int]) -> np.ndarray:
    return (RNG.integers(0, 80, (*size, 3)) + 50 * label).astype(np.uint8)


def _files(folder: Path, names, image_bytes) -> None:
    """Images of several sizes, by name."""
    for at, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        form = "PNG" if path.suffix == ".png" else "JPEG"
        path.write_bytes(image_bytes(_image(at % CLASSES, (70 + at % 5, 66 + at % 7)), form))


def _parquet(path: Path, image: str, label: str, image_bytes) -> None:
    features = {label: {"_type": "ClassLabel", "names": ["a", "b", "c"]}}
    y = np.arange(30) % CLASSES
    cells = [{"bytes": image_bytes(_image(c, (8, 8))), "path": None} for c in y.tolist()]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({image: pa.array(cells, kind), label: y})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def _table(path: Path, header: str, rows) -> None:
    path.write_text("\n".join([header, *rows]) + "\n")


def _prepare(data: dict, folder: Path, image_bytes) -> None:
    """The files that an example reads, in the form that the page describes."""
    path = folder / data["path"]
    if data["dataset"] == "npz":
        y = np.arange(30)[:, None] % CLASSES
        x = np.stack([_image(c, (8, 8)) for c in y[:, 0].tolist()])
        parts = {"train": slice(18), "val": slice(18, 24), "test": slice(24, 30)}
        arrays: dict[str, Any] = {f"{p}_images": x[rows] for p, rows in parts.items()}
        arrays |= {f"{p}_labels": y[rows] for p, rows in parts.items()}
        np.savez(path, **arrays)
    elif data["dataset"] == "images":
        for key in ("path", "test_path"):
            if key in data:
                columns = data.get("image", "image"), data.get("target", "label")
                _parquet(folder / data[key], *columns, image_bytes)
    elif "labels" not in data:
        names = [f"{('cat', 'dog', 'newt')[at % 3]}/{at}.jpg" for at in range(30)]
        _files(path, names, image_bytes)
    else:
        for key, place in (("labels", "path"), ("test_labels", "test_path")):
            if key in data:
                suffix = data.get("suffix", "")
                names = [f"{key}{at}" if suffix else f"{key}{at}.jpg" for at in range(30)]
                _files(folder / data[place], [name + suffix for name in names], image_bytes)
                _labels(folder / data[key], names, data)


def _labels(path: Path, names: list[str], data: dict) -> None:
    image = data.get("image", "image")
    if "target" not in data:
        marks = ["1.0,0.0,0.0", "0.0,1.0,0.0", "0.0,0.0,1.0"]
        _table(path, f"{image},MEL,NV,BCC",
               [f"{name},{marks[at % 3]}" for at, name in enumerate(names)])  # fmt: skip
        return
    rows = [f"{name},{at % 3}" for at, name in enumerate(names)]
    if "group" in data:
        rows = [f"{row},{path.stem}{at // 3}" for at, row in enumerate(rows)]
    header = f"{image},{data['target']}"
    _table(path, f"{header},{data['group']}" if "group" in data else header, rows)


def test_the_page_has_an_example_of_each_form():
    """Class folders, labels, one-hot, a test of its own, two of Parquet, MedMNIST."""
    assert len(EXAMPLES) == 7


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_page_loads(tmp_path, monkeypatch, image_bytes, example):
    """Copied as it is into a file, it gives three classes in three splits."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "spec.yaml").write_text(example)
    _prepare(dict(YAML(typ="safe").load(example)["data"]), tmp_path, image_bytes)
    config, _ = read(tmp_path / "spec.yaml")
    dataset = load(config.data)
    assert len(dataset.classes) == CLASSES
    assert all(min(dataset.facts["counts"][split]) > 0 for split in SPLITS)
    assert dataset.facts["shape"] == [3, *[config.data.size or 8] * 2]
