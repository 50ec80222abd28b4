"""Counts samples of a data set that are equal to the bit, within a split and between splits."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np

from trainers.data.rows import parts

MARK_BYTES = 8


def repeats(x: Mapping[str, np.ndarray], codes: Mapping[str, np.ndarray] | None) -> dict[str, int]:
    """Counts equal samples, as a network receives them; classes are not compared.

    Args:
        x: split -> (N, ...) pixels or numbers; "train", and "val" and "test" if they exist.
        codes: split -> (N, G) categories of a table, or None.

    Returns:
        For each split, the samples that repeat an earlier sample of that split. "val_in_train" and
        "test_in_others": the samples of a split that equal a sample of train, or of train or val.
    """
    marks = {split: _marks(x[split], None if codes is None else codes[split]) for split in x}
    found = {split: len(own) - len(np.unique(own)) for split, own in marks.items()}
    if "val" in marks:
        found["val_in_train"] = int(np.isin(marks["val"], marks["train"]).sum())
    if "test" in marks:
        others = np.concatenate([own for split, own in marks.items() if split != "test"])
        found["test_in_others"] = int(np.isin(marks["test"], others).sum())
    return found


def _marks(x: np.ndarray, codes: np.ndarray | None) -> np.ndarray:
    """A hash of each sample, (N,) uint64: equal samples have equal hashes, others almost never."""
    digests: list[bytes] = []
    for part in parts(x.shape):
        rows = _bytes(x[part] + np.zeros((), dtype=x.dtype))  # turns -0.0 into 0.0
        if codes is not None:
            rows = np.concatenate([rows, _bytes(codes[part])], axis=1)
        digests += [blake2b(row, digest_size=MARK_BYTES).digest() for row in rows]
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _bytes(array: np.ndarray) -> np.ndarray:
    """Returns (N, ...) as the bytes of each sample: (N, B) uint8."""
    rows = np.ascontiguousarray(array).reshape(len(array), -1)
    return rows.view(np.uint8).reshape(len(array), -1)
