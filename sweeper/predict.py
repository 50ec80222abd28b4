"""Applies a saved model to a file: writes classes and probabilities as a table.

It uses the trainer, but neither Ray nor a database.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sweeper import files
from sweeper.errors import InputError
from trainers.config import ConfigError

if TYPE_CHECKING:
    from trainers.data.unseen import Samples


@dataclass(frozen=True)
class Recall:
    """The recall of a class; None if it has no samples."""

    name: str
    samples: int
    recall: float | None


@dataclass(frozen=True)
class Predicted:
    """The result: the file that was written, and how accurate it is.

    Attributes:
        given: samples that were assigned to each class.
        recalls: of each class; None if the file has no classes.
        unknown: samples of each class that the model does not know; no recall counts them.
        unnamed: samples without a class in a file that has classes.
        strange: for each categorical column, values that the training data did not have.
    """

    out: Path
    samples: int
    given: dict[str, int]
    recalls: tuple[Recall, ...] | None
    unknown: dict[str, int]
    unnamed: int
    strange: dict[str, int]

    @property
    def balanced_accuracy(self) -> float | None:
        """The mean recall of the classes that have samples."""
        seen = [entry.recall for entry in self.recalls or () if entry.recall is not None]
        return sum(seen) / len(seen) if seen else None

    def as_json(self) -> dict[str, Any]:
        """The result as JSON, for scripts."""
        rows = None
        if self.recalls is not None:
            rows = {
                entry.name: {"samples": entry.samples, "recall": entry.recall}
                for entry in self.recalls
            }
        return {
            "out": str(self.out),
            "samples": self.samples,
            "given": self.given,
            "recalls": rows,
            "balanced_accuracy": self.balanced_accuracy,
            "unknown": self.unknown,
            "unnamed": self.unnamed,
            "strange": self.strange,
        }


def predict(model: Path, data: Path, *, out: Path, force: bool = False) -> Predicted:
    """Applies the model in the folder `model` to the file `data`, and writes a table to `out`.

    Its columns: `row`, the sample's place in the file; `file`, its name in a folder; `class`;
    `p:NAME`, the probability of each class; and `true`, the class as the file names it, where it
    does. A class that the model does not know counts in no recall.

    Raises:
        InputError: the model or the data cannot be used, or `out` cannot be written.
    """
    _check_target(out, force=force)
    from trainers import saved
    from trainers.data.unseen import read

    try:
        loaded = saved.load(model)
        samples = read(data, loaded.inputs, loaded.classes)
    except ConfigError as error:
        raise InputError(str(error)) from error
    chances = loaded.probabilities(samples)
    _write(_table(samples, chances, loaded.classes), out)
    picked = chances.argmax(axis=1)
    counts = np.bincount(picked, minlength=len(loaded.classes))
    given = dict(zip(loaded.classes, counts.tolist(), strict=True))
    recalls = None if samples.y is None else _recalls(picked, samples.y, loaded.classes)
    unknown: Counter[str] = Counter()
    if samples.y is not None and samples.names is not None:
        unknown.update(samples.names[samples.y < 0].tolist())
    unnamed = unknown.pop("", 0)
    return Predicted(
        out,
        len(samples),
        given,
        recalls,
        dict(sorted(unknown.items())),
        unnamed,
        dict(samples.strange),
    )


def _check_target(out: Path, *, force: bool) -> None:
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"--out {out}: should end in .csv or .parquet")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist")
    if os.path.lexists(out) and (out.is_dir() or not force):
        raise InputError(f"--out {out}: exists already; --force replaces it")


def _table(samples: Samples, chances: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    names = np.array(classes, dtype=object)
    columns: dict[str, Any] = {"row": samples.rows}
    if samples.files is not None:
        columns["file"] = [os.fsencode(name).decode("utf-8", "replace") for name in samples.files]
    columns["class"] = names[chances.argmax(axis=1)]
    columns |= {f"p:{name}": chances[:, at] for at, name in enumerate(classes)}
    if samples.names is not None:
        columns["true"] = [name or None for name in samples.names.tolist()]
    return pd.DataFrame(columns)


def _recalls(picked: np.ndarray, y: np.ndarray, classes: tuple[str, ...]) -> tuple[Recall, ...]:
    found = []
    for label, name in enumerate(classes):
        own = y == label
        share = float((picked[own] == label).mean()) if own.any() else None
        found.append(Recall(name, int(own.sum()), share))
    return tuple(found)


def _write(frame: pd.DataFrame, out: Path) -> None:
    try:
        with files.replacing(out) as spare:
            if out.suffix.lower() == ".parquet":
                frame.to_parquet(spare, index=False)
            else:
                frame.to_csv(spare, index=False)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from error
