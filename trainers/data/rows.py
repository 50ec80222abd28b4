"""Samples that are read a part at a time, into arrays in memory or, if they are large, in files.

Letters: N samples.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trainers import cache

FROM_BYTES = 64 << 20  # smaller data sets are kept in each process's memory
# Read at once: a float64 copy of a large pool would be too big.
PART_SAMPLES, PART_NUMBERS = 4096, 12 << 20

Change = Callable[[np.ndarray], np.ndarray]


class Rows(Protocol):
    """Samples that are read a part at a time; an array is one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, part: slice | np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True)
class Picked:
    """Some samples of others, by their places."""

    rows: Rows
    places: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.places), *self.rows.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.rows.dtype

    def __getitem__(self, part: slice | np.ndarray, /) -> np.ndarray:
        return self.rows[self.places[part]]


def parts(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cuts samples of this shape, (N, ...), into parts of a moderate size."""
    numbers = max(1, int(np.prod(shape[1:])))
    step = min(PART_SAMPLES, max(1, PART_NUMBERS // numbers))
    yield from (slice(start, start + step) for start in range(0, shape[0], step))


def arrays(rows: Mapping[str, Rows], change: Change) -> dict[str, np.ndarray]:
    """Reads rows and changes them, a part at a time.

    Returns:
        Arrays in memory; or, from FROM_BYTES on, read-only files of the cache, if it can be
        written, which are removed with the arrays.
    """
    large = sum(_bytes(own) for own in rows.values()) >= FROM_BYTES
    made = {name: _file(own, change) if large else None for name, own in rows.items()}
    return {name: _array(rows[name], change) if a is None else a for name, a in made.items()}


def _bytes(rows: Rows) -> int:
    return int(np.prod(rows.shape, dtype=np.int64)) * rows.dtype.itemsize


def _array(rows: Rows, change: Change) -> np.ndarray:
    sample = change(rows[:0])
    made = np.empty((rows.shape[0], *sample.shape[1:]), dtype=sample.dtype)
    for part in parts(rows.shape):
        made[part] = change(rows[part])
    return made


def _file(rows: Rows, change: Change) -> np.ndarray | None:
    """An array in a file; None if the cache cannot be written."""
    path, sample = cache.temporary(cache.DATASETS), change(rows[:0])

    def content() -> Iterator[memoryview]:
        for part in parts(rows.shape):
            yield np.ascontiguousarray(change(rows[part])).data.cast("B")

    shape = (rows.shape[0], *sample.shape[1:])
    if not cache.write_parts(path, npy(shape, sample.dtype, content())):
        return None
    made = np.load(path, mmap_mode="r", allow_pickle=False)
    weakref.finalize(made, path.unlink, missing_ok=True)
    return made


def npy(
    shape: tuple[int, ...], dtype: np.dtype[Any], content: Iterable[memoryview]
) -> Iterator[bytes | memoryview]:
    """An array as a .npy file, from its content in C order."""
    header = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    yield header.getvalue()
    yield from content
