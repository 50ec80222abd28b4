"""The forms in which people have images: MedMNIST's archives, Hugging Face's Parquet, folders."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainers.card import _input
from trainers.config import ConfigError
from trainers.data import SPLITS, load
from trainers.data.unseen import Inputs
from trainers.data.unseen import read as read_samples
from trainers.data_config import DataConfig

RNG_SEED = 5
NAMES = ("cat", "dog", "newt")


def _arrays(samples=60, shape=(6, 6, 3), classes=3):
    rng = np.random.default_rng(RNG_SEED)
    return rng.integers(0, 256, (samples, *shape), dtype=np.uint8), np.arange(samples) % classes


X, Y = _arrays()
ONE_HOT = np.eye(3, dtype=np.uint8)[Y]


def _config(**fields) -> DataConfig:
    return DataConfig.model_validate({k: str(v) if isinstance(v, Path) else v
                                      for k, v in fields.items()})  # fmt: skip


def _refusal(config: DataConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _samples(dataset) -> dict[bytes, str]:
    """Each image's pixels, as (H, W, C), and the name of its class."""
    return {
        image.transpose(1, 2, 0).tobytes(): dataset.classes[label]
        for split in dataset.y
        for image, label in zip(dataset.x[split], dataset.y[split], strict=True)
    }


EXPECTED = {image.tobytes(): NAMES[label] for image, label in zip(X, Y, strict=True)}


# MedMNIST's archives, and labels with an axis more.


def _npz(path: Path, **arrays) -> DataConfig:
    np.savez(path, **arrays)
    return _config(dataset="npz", path=path)


def _medmnist(shape=(6, 6, 3), labels=Y[:, None]) -> dict[str, Any]:
    x, _ = _arrays(shape=shape)
    ends = {"train": slice(0, 30), "val": slice(30, 45), "test": slice(45, 60)}
    return {
        f"{part}_{name}": array[rows]
        for part, rows in ends.items()
        for name, array in (("images", x), ("labels", labels))
    }


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 3)])
def test_medmnist_archives_are_read_as_they_are(tmp_path, shape):
    """train_images, train_labels (N, 1) and so on, grey or colour; the parts stay what they are."""
    arrays = _medmnist(shape)
    dataset = load(_npz(tmp_path / "d.npz", **arrays))
    for part in SPLITS:
        assert dataset.y[part].tolist() == arrays[f"{part}_labels"][:, 0].tolist()
        stored = arrays[f"{part}_images"].reshape(-1, 6, 6, 3 if len(shape) == 3 else 1)
        assert np.array_equal(dataset.x[part], stored.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("labels", [Y[:, None], ONE_HOT, ONE_HOT.astype(float), ONE_HOT > 0])
@pytest.mark.parametrize("form", ["medmnist", "parts", "one part"])
def test_labels_with_an_axis_more_are_the_same_labels(tmp_path, labels, form):
    """(N, 1) and one-hot of any type give what (N,) gives, in each form of archive."""

    def arrays(labels):
        return {
            "medmnist": _medmnist(labels=labels),
            "parts": {"x_train": X[:40], "y_train": labels[:40],
                      "x_test": X[40:], "y_test": labels[40:]},
            "one part": {"images": X, "labels": labels},
        }[form]  # fmt: skip

    plain = load(_npz(tmp_path / "plain.npz", **arrays(Y)))
    other = load(_npz(tmp_path / "other.npz", **arrays(labels)))
    assert other.fingerprint == plain.fingerprint


def test_an_archive_without_split_is_split_here(tmp_path):
    """images and labels alone: test and validation are held out, class by class."""
    dataset = load(_npz(tmp_path / "d.npz", images=X, labels=Y, classes=np.array(NAMES)))
    assert dataset.facts["counts"] == {"train": [13, 13, 13], "val": [2, 2, 2], "test": [5, 5, 5]}
    assert _samples(dataset) == EXPECTED


@pytest.mark.parametrize("form", ["medmnist", "parts", "one part"])
def test_groups_of_an_archive_stay_whole(tmp_path, form):
    """The array that `group` names goes by the names of the archive's other arrays."""
    group = np.arange(60) // 6
    ends = {"train": slice(0, 42), "test": slice(42, 60)}
    arrays = {
        "medmnist": {f"{part}_{name}": array[rows] for part, rows in ends.items()
                     for name, array in (("images", X), ("labels", Y), ("site", group))},
        "parts": {f"{name}_{part}": array[rows] for part, rows in ends.items()
                  for name, array in (("x", X), ("y", Y), ("site", group))},
        "one part": {"images": X, "labels": Y, "site": group},
    }[form]  # fmt: skip
    config = _npz(tmp_path / "d.npz", **arrays).model_copy(update={"group": "site"})
    dataset = load(config)
    of = {image.transpose(2, 0, 1).tobytes(): site for image, site in zip(X, group, strict=True)}
    sites = [{of[image.tobytes()] for image in dataset.x[split]} for split in SPLITS]
    assert sum(map(len, sites)) == len(set.union(*sites)) == 10


MULTI = ONE_HOT.copy()
MULTI[7, :2] = 1
BAD_LABELS = {
    "two classes": (MULTI, "row 7, counted from 0, has 2 classes: each sample needs exactly one, "
                    "and samples of several classes (multi-label) are not read"),
    "no class": (ONE_HOT * (np.arange(60) != 7)[:, None], "row 7, counted from 0, has 0 classes"),
    "shares": (ONE_HOT * 0.5, "labels of shape (60, 3), which are not one-hot: give (N,) classes"),
    "text": (np.array(NAMES)[ONE_HOT], "which are not one-hot"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_of_several_classes_are_refused_by_name(tmp_path, case):
    """Multi-label data would be trained on one of their classes in silence."""
    labels, reason = BAD_LABELS[case]
    assert reason in _refusal(_npz(tmp_path / "d.npz", images=X, labels=labels))


# Hugging Face's Parquet.


def _hugging_face(path: Path, image_bytes, *, image="image", label="label", **fields):
    features = {
        image: {"_type": "Image"},
        label: {"names": list(NAMES), "_type": "ClassLabel"},
    }
    cells = [{"bytes": image_bytes(one), "path": "../../etc/passwd"} for one in X]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({image: pa.array(cells, kind), label: Y})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return _config(dataset="images", path=path, **fields)


def test_hugging_face_images_and_class_names_are_read(tmp_path, image_bytes):
    """The struct's bytes are the image, its path is never opened; ClassLabel names the classes."""
    dataset = load(_hugging_face(tmp_path / "d.parquet", image_bytes))
    assert dataset.classes == NAMES
    assert _samples(dataset) == EXPECTED


def test_keys_name_other_columns_of_images_and_classes(tmp_path, image_bytes):
    """CIFAR-100 has `img` and `fine_label`; the names are those of the column that is asked for."""
    path = tmp_path / "d.parquet"
    config = _hugging_face(path, image_bytes, image="img", label="fine_label",
                           **{})  # fmt: skip
    assert "needs a column 'image' and there is none; the nearest is 'img'" in _refusal(config)
    asked = {"image": "img", "target": "fine_label"}
    assert load(config.model_copy(update=asked)).classes == NAMES


def test_an_image_that_is_only_a_path_is_refused(tmp_path):
    """A file that a data set names is not opened, wherever it lies."""
    cells = [{"bytes": None, "path": "/etc/passwd"}] * 4
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array(cells, kind), "label": [0, 1, 0, 1]}), tmp_path / "d.parquet"
    )
    message = _refusal(_config(dataset="images", path=tmp_path / "d.parquet"))
    assert "has 4 rows without an image in column 'image', or with its path alone" in message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"info": {"features": {"label": {}}}}', "3"])
def test_other_metadata_of_hugging_face_name_no_class(tmp_path, image_bytes, text):
    """Metadata that are damaged or say nothing of the column leave the labels as they are."""
    path = tmp_path / "d.parquet"
    config = _hugging_face(path, image_bytes)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), path)
    assert load(config).classes == ("0", "1", "2")


# A folder of class folders.


def _write(root: Path, image_bytes, rows=range(60), form="PNG") -> Path:
    for row in rows:
        folder = root / NAMES[Y[row]]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row:03}.{form.lower()}").write_bytes(image_bytes(X[row], form))
    return root


def test_class_folders_are_classes(tmp_path, image_bytes):
    """FOLDER/CLASS/image: all three splits are made here, and each image keeps its class."""
    dataset = load(_config(dataset="folder", path=_write(tmp_path / "f", image_bytes)))
    assert dataset.classes == NAMES
    assert _samples(dataset) == EXPECTED
    assert dataset.facts["counts"]["test"] == [5, 5, 5]


def test_a_folder_is_what_an_archive_of_its_images_is(tmp_path, image_bytes):
    """The fingerprint is of content: classes, pixels and parts, not of where they lay."""
    parts = {"train": range(40), "val": range(40, 50), "test": range(50, 60)}
    for part, rows in parts.items():
        _write(tmp_path / "f" / part, image_bytes, rows)
    # Within a part, a folder's images stand in the order of classes.
    rows = {p: sorted(r, key=lambda row: (Y[row], row)) for p, r in parts.items()}
    arrays = {f"{p}_images": X[r] for p, r in rows.items()}
    labels = {f"{p}_labels": Y[r] for p, r in rows.items()}
    archive = _npz(tmp_path / "d.npz", **arrays, **labels, classes=np.array(NAMES))
    folder = load(_config(dataset="folder", path=tmp_path / "f"))
    assert folder.fingerprint == load(archive).fingerprint


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("train", "val", "test"), SPLITS),
        (("Training", "validation", "Testing"), SPLITS),
        (("train", "valid"), ("train", "val")),
        (("TRAIN", "TEST"), ("train", "test")),
    ],
)
def test_part_folders_are_the_splits(tmp_path, image_bytes, names, given):
    """train, val and test by the names they usually have; a part that is not there is held out."""
    rows = {name: range(20 * at, 20 * at + 20) for at, name in enumerate(names)}
    for name, own in rows.items():
        _write(tmp_path / "f" / name, image_bytes, own)
    dataset = load(_config(dataset="folder", path=tmp_path / "f"))
    for part, name in list(zip(given, names, strict=True))[1:]:
        stored = {X[row].transpose(2, 0, 1).tobytes() for row in rows[name]}
        assert {image.tobytes() for image in dataset.x[part]} == stored
    assert sum(len(y) for y in dataset.y.values()) == 20 * len(names)


def test_a_class_may_be_called_train(tmp_path, image_bytes):
    """Vehicles have such a class: only where all folders are called as parts are they parts."""
    root = _write(tmp_path / "f", image_bytes)
    (root / "newt").rename(root / "train")
    assert load(_config(dataset="folder", path=root)).classes == ("cat", "dog", "train")


def test_a_test_folder_may_lie_elsewhere(tmp_path, image_bytes):
    """test_path is a folder of class folders, and the test split as it is."""
    train = _write(tmp_path / "a", image_bytes, range(40))
    test = _write(tmp_path / "b", image_bytes, range(40, 60))
    dataset = load(_config(dataset="folder", path=train, test_path=test))
    assert len(dataset.y["test"]) == 20


def test_what_systems_leave_behind_does_not_count(tmp_path, image_bytes):
    """.DS_Store, ._ files, Thumbs.db, desktop.ini, __MACOSX, .ipynb_checkpoints: nothing of them
    is data, nor are other files beside the class folders."""
    root = _write(tmp_path / "f", image_bytes)
    before = load(_config(dataset="folder", path=root)).fingerprint
    for name in (".DS_Store", "cat/.DS_Store", "cat/._000.png", "dog/Thumbs.db", "dog/desktop.ini",
                 "README.txt", "labels.csv"):  # fmt: skip
        (root / name).write_bytes(b"junk")
    for name in ("__MACOSX/cat", ".ipynb_checkpoints", "cat/.ipynb_checkpoints"):
        (root / name).mkdir(parents=True)
        (root / name / "a.png").write_bytes(b"junk")
    assert load(_config(dataset="folder", path=root)).fingerprint == before


def test_two_files_of_one_stem_are_two_images(tmp_path, image_bytes):
    """Scraped images are often called 1.jpg and 1.png, and are not the same."""
    root = _write(tmp_path / "f", image_bytes)
    (root / "cat" / "000.jpg").write_bytes(image_bytes(X[1], "JPEG"))
    assert sum(len(y) for y in load(_config(dataset="folder", path=root)).y.values()) == 61


def test_odd_names_of_files_are_read(tmp_path, image_bytes):
    """Blanks, quotes, line breaks, markup and bytes that are no UTF-8."""
    root = _write(tmp_path / "f", image_bytes)
    for row, name in enumerate([b" a'\".png", b"a\nb.png", b"<b>.PNG", b"\xff\xfe.png"]):
        os.rename(root / NAMES[Y[row]] / f"{row:03}.png",
                  os.path.join(os.fsencode(root / NAMES[Y[row]]), name))  # fmt: skip
    assert _samples(load(_config(dataset="folder", path=root))) == EXPECTED


def _spoiled(root: Path, image_bytes, case: str) -> None:
    """Spoils a folder of class folders in a way."""
    if case == "broken":
        (root / "dog/001.png").write_bytes(image_bytes(X[1])[:70])
    elif case == "text":
        (root / "dog/001.png").write_text("not found")
    elif case == "empty class":
        (root / "eel").mkdir()
    elif case == "nested":
        (root / "train").mkdir()
        for name in NAMES:
            (root / name).rename(root / "train" / name)
        (root / "zoo").mkdir()
    elif case == "flat":
        for at, file in enumerate(sorted(root.glob("*/*"))):
            file.rename(root / f"{at}.png")
        for name in NAMES:
            (root / name).rmdir()
    elif case == "stray":
        (root / "x.png").write_bytes(image_bytes(X[1]))
    elif case == "another kind":
        (root / "dog/scan.tif").write_bytes(b"II*\0")
    elif case == "link outside":
        outside = root.parent / "secret.png"
        outside.write_bytes(image_bytes(X[1]))
        (root / "dog/link.png").symlink_to(outside)
    elif case == "linked class":
        outside = _write(root.parent / "other", image_bytes)
        (root / "eel").symlink_to(outside / "cat")
    elif case == "loop":
        (root / "dog/loop.png").symlink_to(root / "dog/loop.png")
    elif case == "dangling":
        (root / "dog/gone.png").symlink_to(root / "dog/nowhere.png")
    elif case == "pipe":
        os.mkfifo(root / "dog/pipe.png")
    elif case == "size":
        (root / "dog/001.png").write_bytes(image_bytes(X[1][:5]))
    elif case == "one class":
        for name in NAMES[1:]:
            (root / name).rename(root.parent / name)


BAD_FOLDERS = {
    "broken": "has an image, 'dog/001.png', that cannot be decoded",
    "text": "has an image, 'dog/001.png', that cannot be decoded (not a JPEG, PNG, WebP or BMP)",
    "empty class": "has no image in its class folder 'eel': add some, or remove the folder",
    "nested": "has a folder 'train/cat' within a class folder: classes lie directly in data.path",
    "flat": "has no class folders: give each class a folder with its images, or name a table",
    "stray": "has images beside its class folders, such as 'x.png'",
    "another kind": "has a file 'dog/scan.tif' that is no JPEG, PNG, WebP or BMP by name: convert",
    "link outside": "has an image, 'dog/link.png', that is a link to outside of the folder",
    "linked class": "has an image, 'eel/000.png', that is a link to outside of the folder",
    "loop": "has an image, 'dog/loop.png', that cannot be opened",
    "dangling": "has an image, 'dog/gone.png', that cannot be opened: No such file",
    "pipe": "has an image, 'dog/pipe.png', that is not a file",
    "size": "has an image, 'dog/001.png', that has 6 x 5 pixels, others have 6 x 6: set data.size",
    "one class": "has one class only, 'cat': two are needed",
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_bad_folder_is_refused_with_the_file(tmp_path, image_bytes, case):
    """One line names data.path, the file or folder within it, and what to do."""
    root = _write(tmp_path / "f", image_bytes)
    _spoiled(root, image_bytes, case)
    message = _refusal(_config(dataset="folder", path=root))
    assert message.startswith(f"data.path: {str(root)!r} ")
    assert BAD_FOLDERS[case] in message


def test_two_folders_for_one_part_are_refused(tmp_path, image_bytes):
    """val and valid: which of them is meant cannot be known."""
    for name in ("train", "val", "valid"):
        _write(tmp_path / "f" / name, image_bytes, range(20))
    message = _refusal(_config(dataset="folder", path=tmp_path / "f"))
    assert "has two folders for val, 'val' and 'valid': join them" in message


# A folder of images with a table of labels.


def _flat(root: Path, image_bytes, rows=range(60), form="JPEG") -> Path:
    root.mkdir(parents=True)
    for row in rows:
        (root / f"ISIC_{row:03}.{form.lower()}").write_bytes(image_bytes(X[row], form))
    return root


def _csv(path: Path, rows, header="image,dx", lesion=None) -> Path:
    lines = [f"ISIC_{row:03},{NAMES[Y[row]]}" for row in rows]
    if lesion is not None:
        header += ",lesion"
        lines = [f"{line},{lesion[row]}" for line, row in zip(lines, rows, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def _labelled(tmp_path, image_bytes, **fields) -> DataConfig:
    root = _flat(tmp_path / "f", image_bytes, form="PNG")
    keys = {"labels": _csv(tmp_path / "l.csv", range(60)), "target": "dx", "suffix": ".png"}
    return _config(dataset="folder", path=root, **(keys | fields))


def test_a_table_of_labels_names_images_and_classes(tmp_path, image_bytes):
    """The form of ISIC and APTOS: a column of names, a suffix, a column of classes."""
    dataset = load(_labelled(tmp_path, image_bytes))
    assert dataset.classes == NAMES
    assert _samples(dataset) == EXPECTED


def test_names_may_have_their_suffix_and_their_folder(tmp_path, image_bytes):
    """The column is then the file's name from the folder on."""
    root = _flat(tmp_path / "f" / "part", image_bytes, form="PNG").parent
    lines = [f"part/ISIC_{row:03}.png,{NAMES[Y[row]]}" for row in range(60)]
    (tmp_path / "l.csv").write_text("\n".join(["id_code,diagnosis", *lines]))
    config = _config(dataset="folder", path=root, labels=tmp_path / "l.csv", image="id_code",
                     target="diagnosis")  # fmt: skip
    assert _samples(load(config)) == EXPECTED


def test_one_hot_columns_are_classes(tmp_path, image_bytes):
    """ISIC 2018 and 2019: without a target every other column is a class, 1.0 in one of them."""
    lines = [f"ISIC_{row:03}," + ",".join(f"{mark:.1f}" for mark in ONE_HOT[row])
             for row in range(60)]  # fmt: skip
    (tmp_path / "hot.csv").write_text("\n".join(["image,cat,dog,newt", *lines]))
    config = _labelled(tmp_path, image_bytes, labels=tmp_path / "hot.csv", target=None)
    assert _samples(load(config)) == EXPECTED


@pytest.mark.parametrize("apart", [False, True])
def test_the_test_split_may_have_a_table_of_its_own(tmp_path, image_bytes, apart):
    """test_labels, with its images in test_path or in the same folder."""
    fields = {
        "labels": _csv(tmp_path / "a.csv", range(40)),
        "test_labels": _csv(tmp_path / "b.csv", range(40, 60)),
    }
    if apart:
        fields["test_path"] = _flat(tmp_path / "t", image_bytes, range(40, 60), form="PNG")
    dataset = load(_labelled(tmp_path, image_bytes, **fields))
    stored = {X[row].transpose(2, 0, 1).tobytes() for row in range(40, 60)}
    assert {image.tobytes() for image in dataset.x["test"]} == stored


def test_groups_of_a_table_of_labels_stay_whole(tmp_path, image_bytes):
    """`group` is a column of the table: no lesion is in two splits."""
    lesion = [f"HAM_{row // 6}" for row in range(60)]
    table = _csv(tmp_path / "g.csv", range(60), lesion=lesion)
    dataset = load(_labelled(tmp_path, image_bytes, labels=table, group="lesion"))
    of = {X[row].transpose(2, 0, 1).tobytes(): lesion[row] for row in range(60)}
    seen = [{of[image.tobytes()] for image in dataset.x[split]} for split in SPLITS]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 10


def _table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


BAD_TABLES = {
    "missing files": ({"suffix": ".jpg"}, "data.labels: ", "names 60 images, of 60, that are not "
                      "in ", "'ISIC_001.jpg', 'ISIC_002.jpg', ...; set data.suffix: .png"),
    "none at all": ({"labels": "image,dx\nx,cat\ny,dog\n"}, "data.labels: ", "names 2 images, of 2",
                    "'x.png', 'y.png'; add them, or take their rows out"),
    "no suffix": ({"suffix": None}, "data.labels: ", "'ISIC_000', ", "; set data.suffix: .png"),
    "no column": ({"image": "file"}, "data.image: 'file' ", "the nearest is 'image'"),
    "no target": ({"target": None}, "data.target: None is missing: name the column that holds the "
                  "class, one of dx; or let all of them be 0 and one 1 a row"),
    "outside": ({"labels": "image,dx\n../x,cat\nISIC_001,dog\n"}, "data.labels: ",
                "names the image '../x.png', which does not lie within the folder"),
    "absolute": ({"labels": "image,dx\n/etc/x,cat\nISIC_001,dog\n"}, "data.labels: ",
                 "names the image '/etc/x.png', which does not lie"),
    "twice": ({"labels": "image,dx\nISIC_001,cat\nISIC_001,dog\n"}, "data.labels: ",
              "names the image 'ISIC_001.png' in two rows"),
    "no name": ({"labels": "image,dx\n,cat\nISIC_001,dog\n"}, "data.labels: ",
                "has 1 rows without an image in column 'image'"),
    "no image column": ({"labels": "id,dx\nISIC_001,cat\n"}, "data.image: None is missing: name "
                        "the column of labels that holds the images' names, one of id, dx"),
    "test without labels": ({"test_path": "f"}, "data.test_path: ", "name a table of them in "
                            "data.test_labels"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_of_labels_is_refused(tmp_path, image_bytes, case):
    """One line names the key, how many images are meant with examples, and what to do."""
    fields, *reasons = BAD_TABLES[case]
    if "labels" in fields:
        fields = fields | {"labels": _table(tmp_path / "bad.csv", fields["labels"])}
    message = _refusal(_labelled(tmp_path, image_bytes, **fields))
    assert message.startswith(reasons[0])
    for reason in reasons:
        assert reason in message


def test_a_link_that_a_table_names_is_not_followed_outside(tmp_path, image_bytes):
    """Neither by the file itself nor by a folder on the way to it."""
    config = _labelled(tmp_path, image_bytes)
    root = Path(str(config.path))
    (tmp_path / "outside").mkdir()
    (root / "ISIC_007.png").rename(tmp_path / "outside" / "ISIC_007.png")
    (root / "ISIC_007.png").symlink_to(tmp_path / "outside" / "ISIC_007.png")
    assert "'ISIC_007.png', that is a link to outside of the folder" in _refusal(config)


# New images for a saved model.


def _inputs(dataset, **fields) -> Inputs:
    made = Inputs.of(dataset, None, **fields)
    return Inputs.of_json(json.loads(json.dumps(made.as_json())))


def test_a_folder_is_read_for_a_model(tmp_path, image_bytes):
    """Class folders say the classes; the rows are the files, sorted; a class may be unknown."""
    root = _write(tmp_path / "f", image_bytes)
    dataset = load(_config(dataset="folder", path=root))
    (root / "dog").rename(root / "eel")
    samples = read_samples(root, _inputs(dataset), dataset.classes)
    assert samples.files is not None
    assert samples.files[:2] == ("cat/000.png", "cat/003.png")
    assert samples.y is not None
    assert sorted(set(samples.y.tolist())) == [-1, 0, 2]
    first = X[0].transpose(2, 0, 1)
    assert np.array_equal(samples.x[0], first)


def test_a_flat_folder_has_no_classes(tmp_path, image_bytes):
    """Images without a class: all of them, by name."""
    dataset = load(_config(dataset="folder", path=_write(tmp_path / "f", image_bytes)))
    root = _flat(tmp_path / "new", image_bytes, range(5), form="PNG")
    samples = read_samples(root, _inputs(dataset), dataset.classes)
    assert samples.y is None
    assert samples.files == tuple(f"ISIC_{row:03}.png" for row in range(5))


def test_the_test_part_of_a_folder_or_archive_is_read(tmp_path, image_bytes):
    """A file that was trained on is read by its test split, as in the data set."""
    for part, rows in {"train": range(40), "test": range(40, 60)}.items():
        _write(tmp_path / "f" / part, image_bytes, rows)
    np.savez(tmp_path / "d.npz", **_medmnist(), classes=np.array(NAMES))
    for config in (_config(dataset="folder", path=tmp_path / "f"),
                   _config(dataset="npz", path=tmp_path / "d.npz")):  # fmt: skip
        dataset = load(config)
        samples = read_samples(Path(str(config.path)), _inputs(dataset), dataset.classes)
        assert np.array_equal(samples.x, dataset.x["test"])
        assert samples.y is not None
        assert np.array_equal(samples.y, dataset.y["test"])


def test_a_model_resizes_new_images_as_its_own(tmp_path, image_bytes, monkeypatch):
    """With data.size the model knows it: the same files give the pixels that were trained on."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    config = _config(dataset="folder", path=_write(tmp_path / "f", image_bytes), size=4)
    dataset = load(config)
    trained = {image.tobytes() for split in SPLITS for image in dataset.x[split]}
    inputs = _inputs(dataset, size=config.size)
    new = read_samples(tmp_path / "f", inputs, dataset.classes)
    assert {image.tobytes() for image in new.x} == trained
    assert "any size" in _input(inputs.as_json())
    grey = tmp_path / "grey"
    grey.mkdir()
    (grey / "a.png").write_bytes(image_bytes(X[0, ..., 0]))
    assert read_samples(grey, inputs, dataset.classes).x.shape == (1, 3, 4, 4)


def test_another_resizing_rule_is_refused(tmp_path, image_bytes):
    """A model's new images would not be what it was trained on."""
    dataset = load(_config(dataset="folder", path=_write(tmp_path / "f", image_bytes)))
    tree = Inputs.of(dataset, None, size=6).as_json()
    tree["resizing"]["rule"] += 1
    with pytest.raises(ConfigError, match="resizes images by rule 2, and this version by rule 1"):
        Inputs.of_json(tree)


def test_hugging_face_files_are_read_for_a_model(tmp_path, image_bytes):
    """The columns that the model was trained on, with the class names of the new file."""
    config = _hugging_face(tmp_path / "d.parquet", image_bytes, image="img", label="fine")
    config = config.model_copy(update={"image": "img", "target": "fine"})
    dataset = load(config)
    inputs = Inputs.of(dataset, "fine", image="img")
    samples = read_samples(tmp_path / "d.parquet", inputs, dataset.classes)
    assert samples.y is not None
    assert samples.y.tolist() == Y.tolist()
