"""A folder of image files; the classes are its subfolders, or come from a table beside it.

    FOLDER/cat/a.jpg                     a folder for each class
    FOLDER/train/cat/a.jpg, FOLDER/test/ and FOLDER/val/ likewise: separate parts
    FOLDER/a.jpg and labels.csv          a column of names and a column of classes, or one-hot

Files are sorted by class and name, or follow the order of the table. Hidden files and system files
(Thumbs.db, desktop.ini) are ignored. No file outside of the folder is read, whatever a link or a
table names.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from trainers.config import ConfigError
from trainers.data import encoded
from trainers.data.dataset import Dataset
from trainers.data.files import (
    Refuse,
    column,
    existing_path,
    groups,
    read_table,
    refusal,
    refuse_unused,
)
from trainers.data.images import IMAGE
from trainers.data.labels import arrow_labels, encode, from_one_hot
from trainers.data.pixels import SUFFIXES
from trainers.data_config import DataConfig

PARTS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
JUNK = ("thumbs.db", "desktop.ini", "__macosx")
MAX_BYTES = 1 << 28  # of a file
LISTED = 3  # files that a message names


@dataclass(frozen=True)
class OnDisk:
    """Image files in a folder, by their names relative to it, with `/` between folders."""

    folder: Path
    names: Sequence[str]
    raised: Refuse

    def __len__(self) -> int:
        return len(self.names)

    def read(self, row: int) -> bytes:
        path = self.folder / self.names[row]
        try:
            if not path.resolve(strict=True).is_relative_to(self.folder.resolve()):
                raise self.refuse(row, "is a link to outside of the folder: copy the file there")
            with open(path, "rb", opener=_without_waiting) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise self.refuse(row, "is not a file")
                if found.st_size > MAX_BYTES:
                    raise self.refuse(row, f"has {found.st_size:,} bytes, at most {MAX_BYTES:,}")
                return file.read()
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or "it links to itself"
            raise self.refuse(row, f"cannot be opened: {reason}") from error

    def refuse(self, row: int, reason: str) -> ConfigError:
        return self.raised(f"has an image, {self.names[row]!r}, that {reason}")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would wait for a writer


def load(config: DataConfig) -> Dataset:
    """Loads the images of the folder `path`, with classes from subfolders or the table `labels`.

    Separate parts are read as they are: train, val and test within `path`, or the test split in
    `test_path` (or by `test_labels`). Missing parts are held out of the training part.

    Raises:
        ConfigError: no classes, no images, files that are missing, damaged or not images.
    """
    common = ("path", "test_path", "size")
    if config.labels is None:
        refuse_unused(config, *common)
        found, belonging = _class_folders(config), None
    else:
        keys = ("labels", "test_labels", "image", "suffix", "target", "group")
        refuse_unused(config, *common, *keys)
        found, belonging = _labelled(config)
    files = {part: one for part, (one, _) in found.items()}
    names = {part: labels for part, (_, labels) in found.items()}
    labels = encode(names, None, refusal(config, "path"), least=config.min_per_class)
    return encoded.dataset(files, labels, config, belonging)


Labelled = tuple[OnDisk, np.ndarray]


def _class_folders(config: DataConfig) -> dict[str, Labelled]:
    """Each part's files and their class names."""
    root, refuse = existing_path(config, "path", folder=True), refusal(config, "path")
    found = {part: by_class(root, inner, refuse) for part, inner in parts_in(root, refuse).items()}
    if config.test_path is not None:
        if "test" in found:
            raise refusal(config, "test_path")("is not needed: data.path has a folder test")
        other = refusal(config, "test_path")
        test = existing_path(config, "test_path", folder=True)
        found["test"] = by_class(test, "", other)
    return found


def parts_in(root: Path, refuse: Refuse) -> dict[str, str]:
    """Returns each part's folder in `root`, or "" for `root` itself.

    A folder has parts only if every subfolder is named after a part and train is among them.
    """
    folders, _ = _visible(root, "", refuse)
    found: dict[str, str] = {}
    for name in folders:
        part = PARTS.get(name.lower())
        if part is None:
            return {"train": ""}
        if part in found:
            raise refuse(f"has two folders for {part}, {found[part]!r} and {name!r}: join them")
        found[part] = name
    return found if "train" in found else {"train": ""}


def by_class(root: Path, inner: str, refuse: Refuse) -> Labelled:
    """The images in the class folders of `root`/`inner`, and their class names."""
    folders, files = _visible(root, inner, refuse)
    stray = [name for name in files if _is_image(name)]
    where = f" in its folder {inner!r}" if inner else ""
    if not folders:
        reason = f"has no class folders{where}: give each class a folder with its images, or name "
        raise refuse(f"{reason}a table of the images' classes in data.labels")
    if stray:
        reason = f"has images beside its class folders{where}, such as {stray[0]!r}"
        raise refuse(f"{reason}: move them into one, or take them out")
    names = {folder: images_in(root, _join(inner, folder), refuse) for folder in folders}
    labels = np.repeat(np.array(folders, dtype=np.str_), [len(own) for own in names.values()])
    return OnDisk(root, [name for own in names.values() for name in own], refuse), labels


def images_in(root: Path, inner: str, refuse: Refuse) -> list[str]:
    """The images in `root`/`inner`, sorted by name; at least one, and no other files."""
    folders, files = _visible(root, inner, refuse)
    if folders:
        reason = f"has a folder {_join(inner, folders[0])!r} within a class folder: classes lie "
        raise refuse(f"{reason}directly in data.path, or in its folders train, val and test")
    other = [name for name in files if not _is_image(name)]
    if other:
        reason = f"has a file {_join(inner, other[0])!r} that is no JPEG, PNG, WebP or BMP by name"
        more = f", and {len(other) - 1:,} more" if len(other) > 1 else ""
        raise refuse(f"{reason}{more}: convert them or take them out")
    if not files:
        reason = f"has no image in its class folder {inner!r}: add some, or remove the folder"
        raise refuse(reason)
    return [_join(inner, name) for name in files]


def unseen(root: Path, refuse: Refuse) -> tuple[OnDisk, np.ndarray | None]:
    """Returns images to predict, and their class names if they are in class folders.

    Of a folder with parts, the images are those of test, or else of train. A folder without
    subfolders has images without classes.
    """
    parts = parts_in(root, refuse)
    inner = parts.get("test", parts["train"])
    folders, files = _visible(root, inner, refuse)
    names = [name for name in files if _is_image(name)]
    if folders or not names:
        return by_class(root, inner, refuse)
    return OnDisk(root, names, refuse), None


def _visible(root: Path, inner: str, refuse: Refuse) -> tuple[list[str], list[str]]:
    """The names of folders and of other files in `root`/`inner`, sorted, without hidden ones."""
    folders, files = [], []
    try:
        with os.scandir(root / inner) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name.lower() not in JUNK:
                    (folders if os.path.isdir(entry.path) else files).append(entry.name)
    except OSError as error:
        raise refuse(f"has a folder {inner!r} that cannot be read: {error.strerror}") from error
    return sorted(folders), sorted(files)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _join(inner: str, name: str) -> str:
    return f"{inner}/{name}" if inner else name


def _labelled(config: DataConfig) -> tuple[dict[str, Labelled], dict[str, np.ndarray] | None]:
    """Each part's files as its table of labels lists them, with their classes and groups."""
    keys, folders = {"train": "labels"}, {"train": "path"}
    if config.test_labels is not None:
        keys["test"] = "test_labels"
        folders["test"] = "path" if config.test_path is None else "test_path"
    elif config.test_path is not None:
        reason = "has no classes: name a table of them in data.test_labels"
        raise refusal(config, "test_path")(reason)
    tables = {
        part: read_table(existing_path(config, key), refusal(config, key))
        for part, key in keys.items()
    }
    found = {
        part: _listed(table, config, folder=folders[part], key=keys[part])
        for part, table in tables.items()
    }
    return found, groups(tables, config, keys)


def _listed(table: pa.Table, config: DataConfig, *, folder: str, key: str) -> Labelled:
    root, refuse = existing_path(config, folder, folder=True), refusal(config, key)
    name = config.image or IMAGE
    if name not in table.column_names and config.image is None:
        held = ", ".join(table.column_names[:20])
        reason = f"is missing: name the column of {key} that holds the images' names, one of {held}"
        raise refusal(config, "image")(reason)
    names = _names(column(table, name, config, key="image"), name, config.suffix or "", refuse)
    _check_there(root, names, config, refuse)
    labels = _classes(table, name, config, refuse)
    return OnDisk(root, names, refusal(config, folder)), labels


def _names(values: pa.ChunkedArray, name: str, suffix: str, refuse: Refuse) -> list[str]:
    """The files that a column names; each is named once and is within the folder."""
    try:
        texts = values.cast(pa.string()).to_pylist()
    except pa.ArrowException as error:
        reason = f"has a column {name!r} of type {values.type}: names of files are needed"
        raise refuse(reason) from error
    gaps = sum(not text for text in texts)
    if gaps:
        raise refuse(f"has {gaps:,} rows without an image in column {name!r}")
    names = [text + suffix for text in texts]
    seen: set[str] = set()
    for file in names:
        path = PurePosixPath(file)
        if path.is_absolute() or ".." in path.parts or "\0" in file:
            raise refuse(f"names the image {file!r}, which does not lie within the folder")
        if file in seen:
            raise refuse(f"names the image {file!r} in two rows: give one row for each image")
        seen.add(file)
    return names


def _check_there(root: Path, names: Sequence[str], config: DataConfig, refuse: Refuse) -> None:
    """Checks that every file in the table exists; the message guesses the suffix."""
    missing = [name for name in names if not (root / name).exists()]
    if not missing:
        return
    some = ", ".join(map(repr, missing[:LISTED])) + (", ..." if len(missing) > LISTED else "")
    reason = f"names {len(missing):,} images, of {len(names):,}, that are not in {str(root)!r}"
    stem = missing[0].removesuffix(config.suffix or "")
    found = [end for end in SUFFIXES if (root / (stem + end)).exists()]
    fix = f"set data.suffix: {found[0]}" if found else "add them, or take their rows out"
    raise refuse(f"{reason}: {some}; {fix}")


def _classes(table: pa.Table, image: str, config: DataConfig, refuse: Refuse) -> np.ndarray:
    """The classes of a table's rows, from the column `target` or from one-hot columns."""
    if config.target is not None:
        values = column(table, config.target, config, key="target")
        return arrow_labels(values, config.target, refuse)
    names = [name for name in table.column_names if name not in (image, config.group)]
    marks = [_marks(table.column(name)) for name in names]
    found = [mark for mark in marks if mark is not None]
    if not names or len(found) < len(names):
        reason = f"is missing: name the column that holds the class, one of {', '.join(names)}"
        raise refusal(config, "target")(f"{reason}; or let all of them be 0 and one 1 a row")
    return np.array(names, dtype=np.str_)[from_one_hot(np.stack(found, axis=1), refuse)]


def _marks(values: pa.ChunkedArray) -> np.ndarray | None:
    """A column of 0 and 1, (N,), or None if it has other values."""
    try:
        numbers = values.cast(pa.float64()).to_numpy()
    except pa.ArrowException:
        return None
    return numbers if np.isin(numbers, (0, 1)).all() else None
