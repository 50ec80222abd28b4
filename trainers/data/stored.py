"""Large data sets as files in the cache, which the processes of a machine map into memory.

So a machine holds one copy of the data, and no process needs memory for all of it. The files are
named by the fingerprint of the content. Smaller data sets are arrays in each process, as are all
where the cache cannot be written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from trainers import cache
from trainers.data.columns import Encoder
from trainers.data.dataset import Dataset
from trainers.data.rows import FROM_BYTES, npy


def kept(dataset: Dataset) -> Dataset:
    """The same data set from files of the cache, if it is large."""
    if dataset.size_bytes < FROM_BYTES:
        return dataset
    facts = _place(dataset.fingerprint)
    with cache.turn(facts):
        if found(dataset.fingerprint) is None and all(
            _write(_part(dataset.fingerprint, name, split), array)
            for name, own in _named(dataset)
            for split, array in own.items()
        ):
            cache.write(facts, json.dumps(_as_json(dataset)).encode())
    there = found(dataset.fingerprint)
    return dataset if there is None else there


def found(fingerprint: str) -> Dataset | None:
    """The data set of this content, if the cache has it."""
    try:
        facts = json.loads(_place(fingerprint).read_bytes())
        arrays = {
            name: {
                split: np.load(_part(fingerprint, name, split), mmap_mode="r", allow_pickle=False)
                for split in splits
            }
            for name, splits in facts["arrays"].items()
        }
        return _of_json(facts, arrays, fingerprint)
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None  # none, or damaged: it is made again


def _place(fingerprint: str) -> Path:
    return cache.root() / cache.DATASETS / f"{fingerprint}.json"


def _part(fingerprint: str, name: str, split: str) -> Path:
    return cache.root() / cache.DATASETS / f"{fingerprint}.{name}_{split}.npy"


def _named(dataset: Dataset) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
    yield "x", dataset.x
    yield "y", dataset.y
    if dataset.codes is not None:
        yield "codes", dataset.codes


def _write(path: Path, array: np.ndarray) -> bool:
    """Writes an array, or gives its file another name if it is one of the cache."""
    file = array.filename if isinstance(array, np.memmap) else None
    if file is not None and Path(file).parent == path.parent:
        with suppress(OSError):
            os.replace(file, path)
            return True
    whole = np.ascontiguousarray(array)
    return cache.write_parts(path, npy(whole.shape, whole.dtype, [whole.data.cast("B")]))


def _as_json(dataset: Dataset) -> dict[str, Any]:
    encoder = dataset.encoder
    return {
        "arrays": {name: list(own) for name, own in _named(dataset)},
        "name": dataset.name,
        "kind": dataset.kind,
        "classes": dataset.classes,
        "cardinalities": dataset.cardinalities,
        "mean": dataset.mean.tolist(),
        "std": dataset.std.tolist(),
        "encoder": None if encoder is None else encoder.as_json(),
        "left_out": dict(dataset.left_out),
        "columns": None if dataset.columns is None else dict(dataset.columns),
        "repeats": dataset.repeats,
    }


def _of_json(
    facts: Mapping[str, Any], arrays: Mapping[str, dict[str, np.ndarray]], fingerprint: str
) -> Dataset:
    encoder = facts["encoder"]
    made = Dataset(
        facts["name"],
        facts["kind"],
        arrays["x"],
        arrays.get("codes"),
        tuple(facts["cardinalities"]),
        arrays["y"],
        tuple(facts["classes"]),
        fingerprint,
        np.array(facts["mean"], dtype=np.float32),
        np.array(facts["std"], dtype=np.float32),
        None if encoder is None else Encoder.of_json(encoder),
        facts["left_out"],
        facts["columns"],
    )
    vars(made)["repeats"] = facts["repeats"]  # as if it had been computed
    return made
