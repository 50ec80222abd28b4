"""Converts the labels of a file to class names and indices, or rejects them.

Classes have the order of the file's `classes` if it has them, or else of the sorted labels: whole
numbers by size, names by their characters. The long-tail profiles use this order. Names stay as
written: `01` and `001` are two classes, and `NA` is a class.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from trainers.data.files import Refuse
from trainers.data.schema import NUMBER, is_text, plain

MAX_CLASSES = 10_000
MAX_NAME = 200
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_NUMBER = re.compile(NUMBER)


class Labels(NamedTuple):
    """The classes of a source's samples.

    Attributes:
        y: part -> (N,) int64, indices into `classes`, -1 for samples of a class that is left out.
        classes: the class names.
        left_out: class name -> training samples, for the classes that are left out.
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
    """Returns the classes, and each sample's class as an index.

    Args:
        labels: part -> (N,) integers, booleans or text; "train" is required.
        names: the names that integers index, if the file has them.
        refuse: makes the error.
        least: classes with fewer samples in the training part are left out (`min_per_class`).

    Raises:
        ConfigError: labels that are decimal, empty or of another shape; fewer than two classes;
            a class without training samples; names that are empty, equal or not printable.
    """
    labels = {part: _checked(part, given, refuse) for part, given in labels.items()}
    if names is None:
        classes, y = _sorted(labels, refuse)
    else:
        classes, y = tuple(names), dict(labels)
        _check_range(y, classes, refuse)
    _check_names(classes, refuse)
    found = Labels({part: own.astype(np.int64) for part, own in y.items()}, classes, {})
    return _common(found, least or 0, refuse)


def _common(found: Labels, least: int, refuse: Refuse) -> Labels:
    """The labels without classes of fewer than `least` samples in the training part."""
    y, classes, _ = found
    counts = np.bincount(y["train"], minlength=len(classes))
    kept = counts >= least
    if not counts[kept].all():
        absent = classes[int(np.argmin(counts))]
        reason = f"has no training sample of class {absent!r}: add some, take the class out, or "
        raise refuse(f"{reason}set data.min_per_class: 1")
    if kept.sum() < 2:
        many = "1 class" if kept.sum() == 1 else f"{kept.sum()} classes"
        reason = f"has {many} of at least {least:,} training samples, which "
        raise refuse(f"{reason}data.min_per_class asks for: two are needed, so set a smaller one")
    places = np.where(kept, np.cumsum(kept) - 1, -1)
    return Labels(
        {part: places[own] for part, own in y.items()},
        tuple(np.array(classes)[kept].tolist()),
        {classes[c]: int(counts[c]) for c in np.flatnonzero(~kept)},
    )


def _sorted(
    labels: Mapping[str, np.ndarray], refuse: Refuse
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The sorted names of the labels, and each part's labels as indices into them."""
    if len({given.dtype.kind for given in labels.values()}) > 1:
        labels = {part: given.astype(np.str_) for part, given in labels.items()}
    found, places = np.unique(np.concatenate(list(labels.values())), return_inverse=True)
    if found.dtype.kind == "U":
        names = found.tolist()
        _check_apart(names, refuse)
        order = np.argsort(np.array(list(map(int, names))) if are_whole(names) else found)
        found, places = found[order], np.argsort(order)[places]
    ends = np.cumsum([len(given) for given in labels.values()])[:-1]
    return tuple(map(str, found)), dict(zip(labels, np.split(places, ends), strict=True))


def are_whole(names: Sequence[str]) -> bool:
    """Returns whether the names are whole numbers in standard form, unlike `01`, `+1` and `1.0`."""
    return all(map(_WHOLE.fullmatch, names))


def _check_apart(names: Sequence[str], refuse: Refuse) -> None:
    """Checks that names differ by more than blanks and case."""
    seen: dict[str, str] = {}
    for name in names:
        twin = seen.setdefault(" ".join(name.split()).casefold(), name)
        if twin != name:
            reason = f"has the classes {twin!r} and {name!r}, equal but for blanks or case"
            raise refuse(f"{reason}: write them the same way, or give them different names")


def arrow_labels(column: pa.ChunkedArray, name: str, refuse: Refuse) -> np.ndarray:
    """Returns a column's labels as numpy integers or text, categories as their values.

    Raises:
        ConfigError: a row has no label, or labels are decimal or of another type.
    """
    labels = known_labels(column, name, refuse)
    gaps = column.null_count if labels.dtype.kind != "U" else int((labels == "").sum())
    if gaps:
        row = f"{gaps:,} row" if gaps == 1 else f"{gaps:,} rows"
        raise refuse(f"has {row} without a class in column {name!r}")
    return labels


def known_labels(column: pa.ChunkedArray, name: str, refuse: Refuse) -> np.ndarray:
    """Returns the same as `arrow_labels`, with "" for a row without a label."""
    column = plain(column)
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        present = column.drop_null()
        raise refuse(_decimal(f"column {name!r}", present[0].as_py() if len(present) else None))
    if pa.types.is_integer(kind) and not column.null_count:
        return column.to_numpy()
    if not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise refuse(f"has classes of type {kind} in column {name!r}: use names or whole numbers")
    encoded = column.cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    levels = np.array(encoded.dictionary.to_pylist(), dtype=np.str_)
    names = [level for level in levels.tolist() if level]
    if names and all(map(_NUMBER.fullmatch, names)) and not are_whole(names):
        raise refuse(_decimal(f"column {name!r}", next(n for n in names if not are_whole([n]))))
    return levels[encoded.indices.to_numpy()]


def from_one_hot(marks: np.ndarray, refuse: Refuse, *, where: str = "") -> np.ndarray:
    """Converts one-hot rows (N, C) to class indices (N,).

    Raises:
        ConfigError: a row does not have exactly one 1, or has other numbers.
    """
    if marks.dtype.kind not in "iubf" or not np.isin(marks, (0, 1)).all():
        reason = f"has {where}labels of shape {marks.shape}, which are not one-hot"
        raise refuse(f"{reason}: give (N,) classes, or (N, C) of 0 and 1 with one 1 a row")
    classes = marks.sum(axis=1)
    odd = np.flatnonzero(classes != 1)
    if len(odd):
        reason = f"has {where}labels of which row {odd[0]}, counted from 0, has "
        reason += f"{int(classes[odd[0]])} classes: each sample needs exactly one"
        raise refuse(f"{reason}, and samples of several classes (multi-label) are not read")
    return marks.argmax(axis=1)


def names_in(metadata: Mapping[bytes, bytes] | None, column: str | None) -> tuple[str, ...] | None:
    """The class names in a Parquet file's metadata for the whole numbers in a column.

    The metadata hold Hugging Face's ClassLabel under `huggingface`, or, under `classes`, a JSON
    list or names joined by commas.
    """
    found = {key: text.decode("utf-8", "replace").strip() for key, text in (metadata or {}).items()}
    ours = found.get(b"classes", "")
    if ours and not ours.startswith("["):
        return tuple(name.strip() for name in ours.split(","))
    try:
        names = json.loads(ours) if ours else _class_label(found.get(b"huggingface", ""), column)
    except ValueError:
        return None
    return None if names is None else tuple(map(str, names))


def _class_label(text: str, column: str | None) -> list[object] | None:
    """The names in the features of Hugging Face's `datasets`, if the column is a ClassLabel."""
    tree = json.loads(text) if text else None
    for key in ("info", "features", column, "names"):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, list) else None


def _checked(part: str, given: np.ndarray, refuse: Refuse) -> np.ndarray:
    """Returns the labels as int64 or text."""
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
