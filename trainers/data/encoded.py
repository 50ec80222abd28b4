"""Reads many image files, in the cells of a column or in a folder, into arrays of pixels.

A file is read when its pixels are needed, a few files at a time, so memory never holds all files of
a large set. Each file is read once for its hash and its form. With `data.size`, the resized images
are made once on a machine and kept in the cache. Their name in the cache comes from the files'
hashes, the size and the version of the resizing rule, so other files get another name.

Letters: N images, H x W pixels, C channels.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from trainers import cache
from trainers.config import ConfigError
from trainers.cores import cores
from trainers.data import pixels
from trainers.data.dataset import Dataset, fingerprint, image_dataset
from trainers.data.labels import Labels
from trainers.data.pixels import ImageShape
from trainers.data.rows import Picked, Rows, npy
from trainers.data.splits import pick
from trainers.data_config import DataConfig

MOST_THREADS = 8  # for decoding; each holds an image of at most 300 MB
T = TypeVar("T")


class Files(Protocol):
    """Image files by number."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> bytes:
        """Reads the file; a ConfigError if it no longer exists."""
        ...

    def refuse(self, row: int, reason: str) -> ConfigError:
        """Makes an error about a file: `reason` completes "an image that"."""
        ...


@dataclass(frozen=True)
class Scan:
    """The result of scanning files: each file's SHA-256 and form, or why its form is unreadable."""

    digests: Sequence[bytes]
    forms: Sequence[ImageShape | ConfigError]


def dataset(
    parts: Mapping[str, Files],
    labels: Labels,
    config: DataConfig,
    groups: Mapping[str, np.ndarray] | None,
) -> Dataset:
    """Makes the data set of image files; only images that a split keeps are decoded.

    Raises:
        ConfigError: images that are damaged, too large, or of several sizes without `data.size`.
    """
    y, classes, left_out = labels
    scans = {part: scan(files) for part, files in parts.items()}
    content = _content(classes, scans["train"].digests, y["train"])
    picks = pick(y, config, content=content, groups=groups)
    rows = {
        part: np.unique(np.concatenate([chosen for of, chosen in picks.values() if of == part]))
        for part in {of for of, _ in picks.values()}
    }
    used = [(parts[part], scans[part], chosen) for part, chosen in rows.items()]
    colour = check_forms(used, config.size)
    decoded = {
        part: decode(parts[part], scans[part], rows[part], config.size, colour=colour)
        for part in rows
    }
    return image_dataset(
        config.dataset,
        {
            split: Picked(decoded[part], np.searchsorted(rows[part], chosen))
            for split, (part, chosen) in picks.items()
        },
        {split: y[part][chosen] for split, (part, chosen) in picks.items()},
        classes=classes,
        left_out=left_out,
    )


def read(files: Files, size: int | None, *, colour: bool) -> np.ndarray:
    """Reads all images, without the cache: (N, H, W), or (N, H, W, 3) if any has colour.

    Raises:
        ConfigError: as in `dataset`.
    """
    rows, seen = np.arange(len(files)), scan(files)
    colour = check_forms([(files, seen, rows)], size) or colour
    return Decoded(files, seen, rows, size, colour)[:]


def scan(files: Files) -> Scan:
    """Reads the hash and the form of each file."""

    def look(row: int) -> tuple[bytes, ImageShape | ConfigError]:
        content = files.read(row)
        try:
            found = pixels.form(content, partial(files.refuse, row))
        except ConfigError as error:  # raised later, if the image is needed
            found = error
        return hashlib.sha256(content).digest(), found

    with _quiet():
        seen = list(_threads(look, range(len(files))))
    return Scan([digest for digest, _ in seen], [found for _, found in seen])


def check_forms(used: Iterable[tuple[Files, Scan, np.ndarray]], size: int | None) -> bool:
    """Returns whether any image has colour, in which case all get three channels.

    Raises:
        ConfigError: an image is unreadable or too large, or sizes differ and `size` is None.
    """
    colour, first = False, None
    for files, seen, rows in used:
        for row in rows.tolist():
            form = seen.forms[row]
            if isinstance(form, ConfigError):
                raise form
            refuse = partial(files.refuse, row)
            pixels.check_pixels(form, size, refuse)
            first = first or form
            if size is None and (form.height, form.width) != (first.height, first.width):
                reason = f"has {form.width} x {form.height} pixels, others have {first.width} x "
                raise refuse(f"{reason}{first.height}: set data.size, and all are made one size")
            colour = colour or form.colour
    return colour


def decode(files: Files, scan: Scan, rows: np.ndarray, size: int | None, *, colour: bool) -> Rows:
    """The images of `rows`, all of one size: (N, H, W), or (N, H, W, 3) in colour, uint8.

    With a size, they are read from the cache or written to it; otherwise a part is decoded when it
    is asked for.
    """
    decoded = Decoded(files, scan, rows, size, colour)
    if size is None:
        return decoded
    made_by = [pixels.RULE, pixels.DECODERS, size, colour]
    name = hashlib.sha256(json.dumps(made_by).encode())
    name.update(b"".join(scan.digests[row] for row in rows.tolist()))
    path = cache.root() / cache.IMAGES / f"{name.hexdigest()}.npy"
    found = _kept(path, decoded.shape)
    if found is None:
        with cache.turn(path):
            found = _kept(path, decoded.shape)
            if found is None and cache.write_parts(path, decoded.npy()):
                found = _kept(path, decoded.shape)
    return decoded if found is None else found


@dataclass(frozen=True)
class Decoded:
    """The pixels of image files, decoded when they are asked for."""

    files: Files
    scan: Scan
    rows: np.ndarray
    size: int | None
    colour: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        form = self.scan.forms[self.rows[0]]
        assert isinstance(form, ImageShape)  # noqa: S101  the forms were checked
        sides = (form.height, form.width) if self.size is None else (self.size, self.size)
        return (len(self.rows), *sides, *((3,) if self.colour else ()))

    def __getitem__(self, part: slice | np.ndarray, /) -> np.ndarray:
        rows = self.rows[part]
        made = np.empty((len(rows), *self.shape[1:]), dtype=np.uint8)
        for position, image in enumerate(self._images(rows)):
            made[position] = image
        return made

    def npy(self) -> Iterator[bytes | memoryview]:
        """All images, as a file of NumPy."""
        return npy(self.shape, self.dtype, (i.data.cast("B") for i in self._images(self.rows)))

    def _images(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        def one(row: int) -> np.ndarray:
            content = self.files.read(row)
            if hashlib.sha256(content).digest() != self.scan.digests[row]:
                raise self.files.refuse(row, "has changed while it was read: start again")
            refuse = partial(self.files.refuse, row)
            return pixels.decode(content, self.size, refuse, colour=self.colour)

        with _quiet():
            yield from _threads(one, rows.tolist())


def _kept(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in the cache, if it is there and undamaged."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.dtype == np.uint8 and found.shape == shape else None


def _threads(work: Callable[[int], T], rows: Iterable[int]) -> Iterator[T]:
    """Yields results in order; at most MOST_THREADS rows are in work, and a few results wait."""
    number = min(MOST_THREADS, cores())
    rows = iter(rows)
    with ThreadPoolExecutor(number) as pool:
        waiting = deque(pool.submit(work, row) for row in islice(rows, 4 * number))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, row) for row in islice(rows, 1))
        finally:
            for left in waiting:
                left.cancel()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Pillow's warnings of large images and odd EXIF: this module checks these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _content(classes: tuple[str, ...], digests: Sequence[bytes], y: np.ndarray) -> str:
    """A hash of a part as stored, before decoding."""
    return fingerprint((*classes, hashlib.sha256(b"".join(digests)).hexdigest()), y)
