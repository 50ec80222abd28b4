"""Classes: from the labels of a file to names and indices, or a plain refusal.

The order of classes is that of the file's `classes` where it has them, else that of the sorted
labels: numbers by size, names by their characters. It is the order of the long-tail profiles.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from trainers.data.files import Refuse

MAX_CLASSES = 10_000
MAX_NAME = 200


class Labels(NamedTuple):
    """The classes of a source's samples.

    Attributes:
        y: part -> (N,) int64, indices into `classes`, -1 for samples of a class that is left out.
        classes: their names.
        left_out: the names of the classes that are left out, and their training samples.
    """

    y: dict[str, np.ndarray]
    classes: tuple[str, ...]
    left_out: dict[str, int]


def encode(
    labels: Mapping[str, np.ndarray],
    names: Sequence[str] | None,
    refuse: Refuse,
    *,
    least: int | None,
) -> Labels:
    """The classes, and each sample's class as an index.

    Args:
        labels: part -> (N,) integers, booleans or text; "train" always.
        names: what the integers index, where the file says.
        refuse: makes the error.
        least: classes with fewer samples in the training part are left out (`min_per_class`).

    Raises:
        ConfigError: labels that are decimal, empty or of another shape; fewer than two classes;
            a class without training samples; names that are empty, equal or not printable.
    """
    labels = {part: _checked(part, given, refuse) for part, given in labels.items()}
    if len({given.dtype.kind for given in labels.values()}) > 1:
        raise refuse("has numbers as classes in one part and text in another: use one kind")
    if names is None:
        found = np.unique(np.concatenate(list(labels.values())))
        classes = tuple(str(label) for label in found)
        y = {part: np.searchsorted(found, given) for part, given in labels.items()}
    else:
        classes, y = tuple(names), dict(labels)
        _check_range(y, classes, refuse)
    _check_names(classes, refuse)
    found = Labels({part: own.astype(np.int64) for part, own in y.items()}, classes, {})
    return _common(found, least or 0, refuse)


def _common(found: Labels, least: int, refuse: Refuse) -> Labels:
    """The labels without the classes of fewer than `least` samples in the training part."""
    y, classes, _ = found
    counts = np.bincount(y["train"], minlength=len(classes))
    kept = counts >= least
    if not counts[kept].all():
        absent = classes[int(np.argmin(counts))]
        reason = f"has no training sample of class {absent!r}: add some, take the class out, or "
        raise refuse(f"{reason}set data.min_per_class: 1")
    if kept.sum() < 2:
        reason = f"has {kept.sum()} classes of at least {least:,} training samples, which "
        raise refuse(f"{reason}data.min_per_class asks for: two are needed, so set a smaller one")
    places = np.where(kept, np.cumsum(kept) - 1, -1)
    return Labels(
        {part: places[own] for part, own in y.items()},
        tuple(np.array(classes)[kept].tolist()),
        {classes[c]: int(counts[c]) for c in np.flatnonzero(~kept)},
    )


def arrow_labels(column: pa.ChunkedArray, name: str, refuse: Refuse) -> np.ndarray:
    """The labels of a column as numpy integers or text, categories as their values."""
    if column.null_count:
        raise refuse(f"has {column.null_count:,} rows without a class in column {name!r}")
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        raise refuse(_decimal(f"column {name!r}", column[0].as_py()))
    if pa.types.is_integer(kind):
        return column.to_numpy()
    if pa.types.is_boolean(kind):
        column = column.cast(pa.string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise refuse(f"has classes of type {kind} in column {name!r}: use names or whole numbers")
    return np.array(column.to_pylist(), dtype=np.str_)


def names_in(metadata: Mapping[bytes, bytes] | None) -> tuple[str, ...] | None:
    """The names under `classes` in a file's metadata: a JSON list, or joined by commas."""
    text = (metadata or {}).get(b"classes", b"").decode("utf-8", "replace").strip()
    if not text:
        return None
    if not text.startswith("["):
        return tuple(name.strip() for name in text.split(","))
    try:
        return tuple(str(name) for name in json.loads(text))
    except ValueError:
        return None


def _checked(part: str, given: np.ndarray, refuse: Refuse) -> np.ndarray:
    """The labels as int64 or text."""
    if given.ndim != 1:
        raise refuse(f"has {part} labels of shape {given.shape}: one label a sample is needed")
    if not len(given):
        raise refuse(f"has no samples for {part}")
    if given.dtype.kind == "f":
        raise refuse(_decimal(f"the labels of {part}", given[0]))
    if given.dtype.kind not in "iubU":
        reason = f"has {part} labels of type {given.dtype}: use whole numbers or text"
        raise refuse(reason)
    return given if given.dtype.kind == "U" else given.astype(np.int64)


def _decimal(where: str, example: object) -> str:
    return (
        f"has decimal numbers in {where} ({example}): a class is a whole number or a name, "
        "so store whole numbers as integers, and cut a measured quantity into classes"
    )


def _check_range(y: Mapping[str, np.ndarray], classes: tuple[str, ...], refuse: Refuse) -> None:
    for part, given in y.items():
        if given.dtype.kind != "i":
            raise refuse(f"has `classes` and text labels in {part}: make the labels their indices")
        outside = given[(given < 0) | (given >= len(classes))]
        if len(outside):
            reason = f"has the label {outside[0]} in {part}, and `classes` names {len(classes)}"
            raise refuse(f"{reason}: labels run from 0 to {len(classes) - 1}")


def _check_names(classes: tuple[str, ...], refuse: Refuse) -> None:
    if len(classes) < 2:
        raise refuse(f"has one class only, {''.join(classes)!r}: two are needed")
    if len(classes) > MAX_CLASSES:
        raise refuse(f"has {len(classes):,} classes, at most {MAX_CLASSES:,}: is that the class?")
    for name in classes:
        if not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
            reason = f"has a class called {name[:MAX_NAME]!r}: names are printable, 1 to {MAX_NAME}"
            raise refuse(f"{reason} characters")
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise refuse(f"has two classes called {twice[0]!r}: rename one")
