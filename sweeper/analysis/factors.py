"""The factors of a sweep: their names, their levels in order, and which one is the axis."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
import pandas as pd

from sweeper.spec import COMPARE, METHOD

BATCH_SIZE = "train.batch_size"
RATIO = "data.imbalance.train_ratio"
CONDITIONS = frozenset(
    f"data.{name}" for name in ("dataset", "path", "test_path", "target", "labels", "test_labels")
)
NAMES = {
    RATIO: "train ratio",
    COMPARE: METHOD,
    "data.imbalance.profile": "imbalance profile",
    "train.lr": "learning rate",
    "train.ssl.weight": "SSL weight",
    "train.ssl.loss": "SSL loss",
    "train.class_weights.by": "class weights",
    "train.average.method": "average of the weights",
    "train.sam.method": "SAM method",
    "train.sam.weighted": "weighted pass of SAM",
    "train.sam.radius": "SAM radius",
    "train.sam.asymmetry": "SAM asymmetry",
    "train.smoothing.minority": "smoothing of the minority",
    "train.smoothing.majority": "smoothing of the majority",
}
PINNED = re.compile(r"(.+)#[0-9a-f]{64}")
WIDE = 4.0  # a positive factor whose levels span this ratio is read on a log scale


def drawn_order(config: Mapping[str, Any]) -> bool:
    """Whether each replicate draws which classes are large, so that no class has a size."""
    data = config.get("data")
    imbalance = data.get("imbalance") if isinstance(data, Mapping) else None
    return isinstance(imbalance, Mapping) and imbalance.get("order") == "permuted"


@dataclass(frozen=True)
class Factor:
    """A factor of the question, its levels in the order in which they are drawn."""

    path: str
    name: str
    levels: tuple[Any, ...]
    scale: Literal["log2", "linear", "category"]
    reference: Any

    @property
    def is_condition(self) -> bool:
        """Whether it describes the data that a user meets, and so is no choice."""
        return is_condition(self.path)

    @property
    def strongest(self) -> Any:
        """The level of a condition that the question is about.

        Of an imbalance the strongest (the smallest train ratio); of words the first as written.
        """
        smallest = self.scale == "category" or self.path.endswith("ratio")
        return self.levels[0] if smallest else self.levels[-1]

    def position(self, level: Any) -> float:
        """Where `level` lies on the axis: its log2, itself, or its place in the list."""
        if self.scale == "category":
            return float(self.levels.index(level))
        return math.log2(level) if self.scale == "log2" else float(level)

    @property
    def positions(self) -> np.ndarray:
        return np.array([self.position(level) for level in self.levels])

    @property
    def steps(self) -> np.ndarray:
        """The positions in the unit of a slope: doublings, or the whole range.

        Of a radius from 0 to 0.2, a change per unit would tell of a radius that nobody tried.
        """
        return self.positions / (1.0 if self.scale == "log2" else float(np.ptp(self.positions)))

    @property
    def step(self) -> str:
        """What a slope is per, in words."""
        if self.scale == "log2":
            return f"doubling of {self.name}"
        return f"step of {show(self.levels[-1] - self.levels[0])} in {self.name}"


def show(level: Any) -> str:
    """A level as a reader writes it."""
    if level is None:
        return "not set"
    if isinstance(level, bool | np.bool_):
        return "yes" if level else "no"
    if isinstance(level, Real):
        number = float(level)
        return str(int(number)) if number.is_integer() and abs(number) < 1e9 else f"{number:.4g}"
    pinned = PINNED.fullmatch(str(level))  # a file of weights
    return PurePath(pinned[1]).name if pinned else str(level)


def name_of(path: str) -> str:
    """A factor's name in words: `train.batch_size` is "batch size"."""
    short = path.split(".", 1)[-1]
    return NAMES.get(path, short.replace(".", " ").replace("_", " "))


def factor(
    path: str, *, written: Any, cells: pd.DataFrame, named: Mapping[str, Any] | None = None
) -> Factor:
    """One factor, its levels from the cells: numbers ascending, words as the spec has them.

    `written` is the factor in the spec, `named` the baselines that the spec names.
    """
    listed, log = _written(written)
    seen = list(pd.unique(pd.Series(column(cells, path=path), dtype=object)))
    numeric = bool(seen) and all(is_number(level) for level in seen)
    if numeric:
        levels = sorted(seen)
    else:
        levels = [one for one in listed if one in seen] + [one for one in seen if one not in listed]
    scale = _scale(levels, path=path, log=log) if numeric else "category"
    reference = _reference(levels, path=path, listed=listed, scale=scale)
    if named and path in named and named[path] in levels:
        reference = named[path]
    return Factor(path, name_of(path), tuple(levels), scale, reference)


def _written(value: Any) -> tuple[list[Any], bool | None]:
    """A factor of the spec: its levels as listed, and for a range whether it is logarithmic."""
    if isinstance(value, Mapping):
        inner = value.get("levels")
        log = bool(value.get("log")) if "low" in value else None
        return (list(inner) if isinstance(inner, list | tuple) else [], log)
    return (list(value) if isinstance(value, list | tuple) else [], None)


def column(cells: pd.DataFrame, *, path: str) -> list[Any]:
    """Each cell's level of a factor; None where the factor does not apply."""
    return [factors.get(path) for factors in cells["factors"]]


def is_number(level: Any) -> bool:
    return isinstance(level, Real) and not isinstance(level, bool | np.bool_)


def _scale(levels: Sequence[float], *, path: str, log: bool | None) -> Literal["log2", "linear"]:
    """As the spec's range says; of listed levels, logarithmic when they span a ratio of 4."""
    if not levels or levels[0] <= 0:
        return "linear"
    if path == BATCH_SIZE or log:
        return "log2"
    return "log2" if log is None and levels[-1] / levels[0] >= WIDE else "linear"


def _reference(levels: Sequence[Any], *, path: str, listed: Sequence[Any], scale: str) -> Any:
    """The level that the others are compared with, where the spec names none.

    The middle level; but the first as written for words and for two levels (the baseline is
    written first), 0 where it is a level (the lever switched off), and the weakest imbalance.
    """
    if path == RATIO and scale != "category":
        return levels[-1] if levels else None
    if scale == "category" or len(levels) <= 2:
        return next((one for one in listed if one in levels), levels[0] if levels else None)
    return 0 if 0 in levels else levels[(len(levels) - 1) // 2]


def axes(factors: Sequence[Factor]) -> tuple[Factor | None, Factor | None]:
    """The factor on the axis and the one that makes the lines.

    What `compare:` names comes first, then batch size, then the first numeric choice. A
    condition makes the lines, the train ratio before others, unless there is no choice beside it;
    else the next factor does.
    """
    if not factors:
        return None, None
    ranked = sorted(factors, key=_eagerness)
    x, rest = ranked[0], [one for one in factors if one is not ranked[0]]
    conditions = sorted(
        (one for one in rest if one.is_condition), key=lambda one: one.path != RATIO
    )
    by = next(iter(conditions), rest[0] if rest else None)
    return x, by


def _eagerness(one: Factor) -> tuple[bool, ...]:
    first = (one.path != COMPARE, one.path != BATCH_SIZE)
    return *first, one.is_condition, one.scale == "category"


def is_condition(path: str) -> bool:
    """Whether a factor describes the data that a user meets; image size and features are choices.

    The imbalance, the data set and its files.
    """
    return path.startswith("data.imbalance.") or path in CONDITIONS


def strongest(factors: Sequence[Factor]) -> dict[str, Any]:
    """Each condition among the factors, at the level that the question is about."""
    return {one.path: one.strongest for one in factors if one.is_condition}


def combination(factors: Mapping[str, Any], *, paths: Sequence[str]) -> tuple[Any, ...]:
    """A cell's levels of `paths`, hashable."""
    return tuple(factors.get(path) for path in paths)
