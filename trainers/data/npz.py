"""Reads images from a NumPy archive, in parts (MedMNIST's format too) or in a single array.

    x_train, y_train, x_test, y_test, and x_val, y_val if it has validation
    train_images, train_labels, test_images ...     MedMNIST's names of the same
    images, labels                                  with `split` (0, 1, 2), or split by this module

Labels are (N,) or (N, 1) whole numbers or text, or one-hot, (N, C) of 0 and 1.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from trainers import cache
from trainers.data.dataset import SPLITS, Dataset, fingerprint, image_dataset
from trainers.data.files import Refuse, existing_path, refusal, refuse_unused
from trainers.data.labels import encode, from_one_hot
from trainers.data.rows import FROM_BYTES, Picked
from trainers.data.splits import pick
from trainers.data_config import DataConfig

Parts = dict[str, np.ndarray]

COPIED_BYTES = 1 << 20
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# The arrays of part {0}: images, labels, and groups named {1}.
NAMINGS = (("x_{0}", "y_{0}", "{1}_{0}"), ("{0}_images", "{0}_labels", "{0}_{1}"))


def load(config: DataConfig) -> Dataset:
    """Loads the images of `path`, grey (N, H, W) or (N, H, W, 1), or colour (N, H, W, 3).

    Pixels are uint8, other whole numbers in 0..255, or decimal numbers in 0..1. A missing
    validation or test part is held out of the training pool.

    Raises:
        ConfigError: pickled objects, missing arrays, wrong shapes, lengths, ranges or types.
    """
    refuse_unused(config, "path", "group")
    refuse = refusal(config, "path")
    with Archive(existing_path(config, "path"), refuse) as archive:
        x, labels = _parts(archive, refuse)
        names = class_names(archive, refuse)
        groups = None if config.group is None else _groups(archive, config, x)
    x = images(x, refuse)
    for part, pixels in x.items():
        if len(labels[part]) != len(pixels):
            reason = f"has {len(pixels):,} images and {len(labels[part]):,} labels in {part}"
            raise refuse(reason)
    y, classes, left_out = encode(labels, names, refuse, least=config.min_per_class)
    content = fingerprint(classes, x["train"], y["train"])
    picks = pick(y, config, content=content, groups=groups)
    return image_dataset(
        "npz",
        {split: Picked(x[part], chosen) for split, (part, chosen) in picks.items()},
        {split: y[part][chosen] for split, (part, chosen) in picks.items()},
        classes=classes,
        left_out=left_out,
    )


def images(x: Mapping[str, np.ndarray], refuse: Refuse) -> Parts:
    """Returns the images of each part as uint8, or float32 in 0..1, all of one size and type."""
    checked = {part: _pixels(part, given, refuse) for part, given in x.items()}
    forms = {part: (given.dtype, given.shape[1:]) for part, given in checked.items()}
    first = next(iter(forms))
    for part, form in forms.items():
        if form != forms[first]:
            raise refuse(f"has other images in {part} ({form}) than in {first} ({forms[first]})")
    return checked


class Archive:
    """A NumPy archive that never unpickles, as a context; numpy's errors become ConfigErrors."""

    def __init__(self, path: Path, refuse: Refuse) -> None:
        self._path, self._refuse = path, refuse

    def __enter__(self) -> Archive:
        with ExitStack() as stack:  # numpy leaves the file open if it is not an archive
            try:
                stream = stack.enter_context(self._path.open("rb"))
                self._file = np.load(stream, allow_pickle=False)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                reason = "is not a NumPy archive: save it with numpy.savez"
                raise self._refuse(reason) from error
            if isinstance(self._file, np.ndarray):
                raise self._refuse("is a single array: save images and labels with numpy.savez")
            self._stack = stack.pop_all()
        self.names = tuple(self._file.files)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._stack.close()

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            found = ", ".join(self.names) or "nothing"
            raise self._refuse(f"lacks the array {name!r} and holds {found}")
        try:
            found = self._mapped(f"{name}.npy")
            return self._file[name] if found is None else found
        except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
            reason = f"has an array {name!r} of Python objects, or damaged, which is never read"
            raise self._refuse(f"{reason}: save plain numbers or text") from error

    def _mapped(self, member: str) -> np.ndarray | None:
        """A large array, from a file without a name; None if it is small or no such file can be."""
        archive = self._file.zip
        if archive.getinfo(member).file_size < FROM_BYTES:
            return None
        with suppress(OSError), tempfile.TemporaryFile(dir=cache.folder(cache.DATASETS)) as file:
            with archive.open(member) as packed:
                shutil.copyfileobj(packed, file, COPIED_BYTES)
            file.seek(0)
            shape, by_columns, dtype = _READ_HEADER[np.lib.format.read_magic(file)](file)
            if not dtype.hasobject:
                order = "F" if by_columns else "C"
                return np.memmap(file, dtype, "r", file.tell(), shape, order)
        return None


def _parts(archive: Archive, refuse: Refuse) -> tuple[Parts, Parts]:
    if "images" in archive.names:
        return _by_split(archive, refuse)
    naming = _naming(archive)
    if naming is None:
        found = ", ".join(archive.names) or "nothing"
        wanted = "x_train, y_train, x_test, y_test or train_images, train_labels, test_images, "
        raise refuse(f"holds {found}: it needs {wanted}test_labels or images, labels")
    given = {"train", "test"} | {
        part for part in SPLITS if {name.format(part) for name in naming[:2]} & set(archive.names)
    }
    parts = [split for split in SPLITS if split in given]
    x, y = ({part: archive[name.format(part)] for part in parts} for name in naming[:2])
    return x, {part: one_axis(own, refuse, where=f"{part} ") for part, own in y.items()}


def _naming(archive: Archive) -> tuple[str, str, str] | None:
    return next((names for names in NAMINGS if names[0].format("train") in archive.names), None)


def one_axis(labels: np.ndarray, refuse: Refuse, *, where: str = "") -> np.ndarray:
    """Returns labels (N,), (N, 1) or one-hot (N, C) as (N,)."""
    if labels.ndim != 2:
        return labels
    return labels[:, 0] if labels.shape[1] == 1 else from_one_hot(labels, refuse, where=where)


def _by_split(archive: Archive, refuse: Refuse) -> tuple[Parts, Parts]:
    x, y = archive["images"], one_axis(archive["labels"], refuse)
    if "split" not in archive.names:
        return {"train": x}, {"train": y}
    split = archive["split"]
    if split.shape != (len(x),) or y.shape[:1] != split.shape:
        shapes = f"{x.shape}, {y.shape}, {split.shape}"
        raise refuse(
            f"has images, labels and split of shapes {shapes}: give one entry for each image"
        )
    if split.dtype.kind not in "iu" or not np.isin(split, (0, 1, 2)).all():
        raise refuse("has a `split` with other values than 0 (train), 1 (val) and 2 (test)")
    if not (split == 0).any():
        raise refuse("has a `split` without 0: nothing to train on")
    masks = {part: split == code for code, part in enumerate(SPLITS)}
    return (
        {part: x[mask] for part, mask in masks.items() if mask.any()},
        {part: y[mask] for part, mask in masks.items() if mask.any()},
    )


def _groups(archive: Archive, config: DataConfig, x: Parts) -> Parts:
    """Each part's groups (N,).

    The array is called GROUP beside `images`, GROUP_train beside `x_train`, and train_GROUP beside
    `train_images`.
    """
    refuse, name, naming = refusal(config, "group"), str(config.group), _naming(archive)
    if "images" in archive.names:
        whole = archive[name]
        split = archive["split"] if "split" in archive.names else np.zeros(whole.shape, int)
        found = {
            part: whole[split == code] if whole.shape == split.shape else whole
            for code, part in enumerate(SPLITS)
            if part in x
        }
    else:
        assert naming is not None  # noqa: S101  the images were found by it
        found = {part: archive[naming[2].format(part, name)] for part in x}
    for part, own in found.items():
        if own.dtype.kind not in "iuU" or own.shape != (len(x[part]),):
            reason = f"has {part} groups of type {own.dtype}, shape {own.shape}, for "
            raise refuse(f"{reason}{len(x[part]):,} images: give one whole number or text for each")
    return found


def class_names(archive: Archive, refuse: Refuse) -> tuple[str, ...] | None:
    """The names that the labels index, if the archive has them."""
    if "classes" not in archive.names:
        return None
    names = archive["classes"]
    if names.ndim != 1 or names.dtype.kind not in "Uiu":
        raise refuse(f"has `classes` of type {names.dtype}, shape {names.shape}: make it text (C,)")
    return tuple(str(name) for name in names)


def _pixels(part: str, x: np.ndarray, refuse: Refuse) -> np.ndarray:
    colour = x.ndim == 4 and x.shape[3] in (1, 3)
    if not (x.ndim == 3 or colour) or 0 in x.shape[1:]:
        reason = f"has {part} images of shape {x.shape}: (N, H, W) or (N, H, W, 3) is needed"
        raise refuse(reason)
    if x.dtype.kind not in "iuf":
        raise refuse(f"has {part} images of type {x.dtype}: uint8 or decimal numbers are needed")
    if not len(x):
        raise refuse(f"has no samples for {part}")
    if x.dtype == np.uint8:
        return x
    decimal = x.dtype.kind == "f"
    if decimal and not np.isfinite(x).all():
        raise refuse(f"has {part} images with NaN or infinite pixels: correct or remove them")
    least, most, top = x.min(), x.max(), 1 if decimal else 255
    if least < 0 or most > top:
        reason = f"has {part} images from {least} to {most}: scale them to 0..{top}"
        raise refuse(reason)
    return x.astype(np.float32 if decimal else np.uint8)
