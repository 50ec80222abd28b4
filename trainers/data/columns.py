"""Encodes the columns of a table for a network: scaled numbers, and codes of categories.

Numbers: the median of the pool replaces missing values, and a column that lacks values in the pool
gets a second column of 0 and 1 that marks them. Then (v - median) / scale, where scale is the
distance between two opposite quantiles of the pool, divided by the same distance in a normal
distribution. The quantiles are the quartiles if these differ, or else the nearest ones that differ,
so that a column that is nearly always 0 keeps its small steps. A smooth clip to -3..3,
z / sqrt(1 + (z/3)^2), keeps the order of outliers.
(Robust scaling and smooth clip: Holzmueller et al. 2024, "Better by Default", RealMLP. Wider
quantiles are this project's choice: RealMLP's fallback to the range squeezes Shuttle's outliers.)

Categories: code 0 is a missing value or a level that the pool does not have; the other codes follow
the sorted levels. If a column has more than 255 levels, the rarest also get code 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from trainers.data_config import Token

Kind = Literal["number", "category"]

CLIP = 3.0
MAX_LEVELS = 255
# Quantile -> the distance to its opposite quantile in a standard normal distribution.
NORMAL_SPREADS = {0.25: 1.349, 0.1: 2.563, 0.05: 3.290, 0.01: 4.653, 0.001: 6.180}


@dataclass(frozen=True, eq=False)
class Text:
    """A categorical column: codes (N,) into `levels`, -1 where missing."""

    codes: np.ndarray
    levels: tuple[str, ...]


@dataclass(frozen=True)
class LevelCodes:
    """The levels of a column that have their own code, starting from 1."""

    levels: tuple[str, ...]

    @classmethod
    def fit(cls, column: Text, pool: np.ndarray) -> LevelCodes:
        """Takes the levels in the pool's rows, at most MAX_LEVELS of them, sorted."""
        shown = column.codes[pool]
        counts = np.bincount(shown[shown >= 0], minlength=len(column.levels))
        ranked = sorted(
            (level for level in range(len(counts)) if counts[level]),
            key=lambda level: (-counts[level], column.levels[level]),
        )
        return cls(tuple(sorted(column.levels[level] for level in ranked[:MAX_LEVELS])))

    @property
    def cardinality(self) -> int:
        """The number of codes, 0 included."""
        return len(self.levels) + 1

    def codes(self, column: Text) -> np.ndarray:
        """Returns codes (N,) int64; `column` may come from another part, with other levels."""
        own = {level: code for code, level in enumerate(self.levels, start=1)}
        translation = np.array([own.get(level, 0) for level in column.levels] + [0])
        return translation[column.codes]  # -1, a missing value, selects the last entry


@dataclass(frozen=True)
class NumberScale:
    """How a column of numbers is filled and scaled."""

    median: float
    spread: float
    marks_missing: bool

    @classmethod
    def fit(cls, values: np.ndarray) -> NumberScale:
        """Fits to the pool's values (N,) float64, NaN where missing."""
        present = values[~np.isnan(values)]
        if not len(present):
            return cls(0.0, 1.0, marks_missing=True)
        spread = _robust_spread(present)
        return cls(float(np.median(present)), spread, marks_missing=len(present) < len(values))

    def apply(self, values: np.ndarray) -> list[np.ndarray]:
        """Returns the scaled column and, if the pool lacks values, missing marks; (N,) each."""
        missing = np.isnan(values)
        z = (np.where(missing, self.median, values) - self.median) / self.spread
        scaled = z / np.hypot(1.0, z / CLIP)
        return [scaled, missing.astype(np.float64)] if self.marks_missing else [scaled]


def _robust_spread(values: np.ndarray) -> float:
    """The standard deviation of a normal column with this spread; 1 if the column is constant."""
    for share, normal in NORMAL_SPREADS.items():
        low, high = np.quantile(values, [share, 1 - share])
        if high > low:
            return float((high - low) / normal)
    return float(np.ptp(values)) / 2 or 1.0


@dataclass(frozen=True)
class Encoder:
    """How a table's columns become a network's numbers, learned from the pool only.

    Attributes:
        scales: the columns of numbers, by name.
        levels: the categorical columns, by name.
        missing: marks of a missing number, in addition to the usual ones.
    """

    scales: Mapping[str, NumberScale]
    levels: Mapping[str, LevelCodes]
    missing: tuple[Token, ...] = ()

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The kind of each column, by name."""
        return kinds_of(self.scales, self.levels)

    @property
    def schema(self) -> dict[str, Any]:
        """The kinds of the columns as JSON: names by kind, and marks of missing values."""
        return {
            "numbers": list(self.scales),
            "categories": list(self.levels),
            "missing": list(self.missing),
        }

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of codes of each categorical column, 0 included."""
        return tuple(found.cardinality for found in self.levels.values())

    def encode(
        self, numbers: Mapping[str, np.ndarray], texts: Mapping[str, Text], rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encodes rows of a part: (N, F) float64, missing marks last, and (N, G) int64."""
        scaled = [scale.apply(numbers[name][rows]) for name, scale in self.scales.items()]
        marks = [mark for _, *more in scaled for mark in more]
        coded = [found.codes(texts[name])[rows] for name, found in self.levels.items()]
        x = _side_by_side([first for first, *_ in scaled] + marks, len(rows))
        return x, _side_by_side(coded, len(rows)).astype(np.int64)

    def strange(self, texts: Mapping[str, Text], rows: np.ndarray) -> dict[str, int]:
        """The number of values without a code in each categorical column that has any."""
        counts = {
            name: int(((texts[name].codes >= 0) & (found.codes(texts[name]) == 0))[rows].sum())
            for name, found in self.levels.items()
        }
        return {name: count for name, count in counts.items() if count}

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON, from which `of_json` restores the same encoder to the last bit."""
        return {
            "numbers": {name: asdict(scale) for name, scale in self.scales.items()},
            "categories": {name: list(found.levels) for name, found in self.levels.items()},
            "missing": list(self.missing),
        }

    @classmethod
    def of_json(cls, tree: Mapping[str, Any]) -> Encoder:
        """Restores an encoder from `as_json`; a KeyError or TypeError if the JSON is not valid."""
        scales = {name: NumberScale(**scale) for name, scale in tree["numbers"].items()}
        levels = {name: LevelCodes(tuple(found)) for name, found in tree["categories"].items()}
        return cls(scales, levels, tuple(tree["missing"]))


def kinds_of(numbers: Iterable[str], categories: Iterable[str]) -> dict[str, Kind]:
    """The kind of each column, by name, numbers first."""
    kinds: dict[str, Kind] = dict.fromkeys(numbers, "number")
    kinds.update(dict.fromkeys(categories, "category"))
    return kinds


def _side_by_side(columns: list[np.ndarray], rows: int) -> np.ndarray:
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0))
