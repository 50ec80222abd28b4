"""Image data sets: what is read, and what is refused with which words."""

import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainers.config import ConfigError
from trainers.data import DATASETS, SPLITS, load
from trainers.data_config import DataConfig

RNG_SEED = 3


def _arrays(samples=60, shape=(6, 6, 3), classes=3):
    rng = np.random.default_rng(RNG_SEED)
    images = rng.integers(0, 256, size=(samples, *shape), dtype=np.uint8)
    return images, np.arange(samples) % classes


def _npz(path: Path, **arrays) -> DataConfig:
    np.savez(path, **arrays)
    return DataConfig(dataset="npz", path=str(path))


def _parts(**changes):
    x, y = _arrays()
    arrays = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}
    return {name: value for name, value in (arrays | changes).items() if value is not None}


def _encoded(array: np.ndarray, form="PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, form)
    return out.getvalue()


def _images(path: Path, images=None, labels=None, *, metadata=None, **fields) -> DataConfig:
    x, y = _arrays()
    images = [_encoded(image) for image in x] if images is None else images
    labels = y[: len(images)] if labels is None else labels
    table = pa.table({"image": pa.array(images, pa.binary()), "label": labels})
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return DataConfig(dataset="images", path=str(path), **fields)


def _refusal(config: DataConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Digits, and what holds for every data set.


def test_digits_are_grey_images_in_three_stratified_splits():
    """The default needs no file: 1,797 images of 8x8 in 0..1, ten classes in each split."""
    dataset = load(DataConfig())
    assert dataset.kind == "image"
    assert dataset.classes == tuple("0123456789")
    assert sum(len(y) for y in dataset.y.values()) == 1797
    for split in SPLITS:
        x = dataset.x[split]
        assert x.shape[1:] == (1, 8, 8)
        assert x.dtype == np.float32
        assert 0.0 <= x.min() < x.max() == 1.0
        assert min(dataset.facts["counts"][split]) > 15


def test_digits_are_those_of_scikit_learn():
    """Read from its file without it: the same images and labels, each once."""
    from sklearn.datasets import load_digits

    dataset = load(DataConfig())
    flat, labels = map(np.asarray, load_digits(return_X_y=True))
    ours = [
        (label, (16 * image).tobytes())
        for split in SPLITS
        for image, label in zip(dataset.x[split], dataset.y[split], strict=True)
    ]
    theirs = zip(labels, (image.astype(np.float32).tobytes() for image in flat), strict=True)
    assert sorted(ours) == sorted(theirs)


def test_mean_and_deviation_are_those_of_the_pool():
    """Normalisation never sees validation or test images."""
    dataset = load(DataConfig())
    pool = dataset.x["train"].astype(np.float64)
    assert dataset.mean == pytest.approx([pool.mean()], rel=1e-6)
    assert dataset.std == pytest.approx([pool.std()], rel=1e-6)


def test_facts_are_json():
    """The driver stores the facts, and checks read them back."""
    facts = load(DataConfig(max_per_class=9)).facts
    assert json.loads(json.dumps(facts)) == facts
    assert facts["shape"] == [1, 8, 8]
    assert facts["counts"]["train"] == [9] * 10


def test_fingerprint_is_of_content_not_of_path(tmp_path):
    """The same arrays in another file, in another place, are the same data; a pixel is not."""
    (tmp_path / "a").mkdir()
    first = load(_npz(tmp_path / "a" / "one.npz", **_parts()))
    second = load(_npz(tmp_path / "two.npz", **_parts()))
    x = _parts()["x_test"].copy()
    x[0, 0, 0, 0] ^= 1
    changed = load(_npz(tmp_path / "three.npz", **_parts(x_test=x)))
    assert first.fingerprint == second.fingerprint != changed.fingerprint


def test_imbalance_leaves_the_data_as_they_are():
    """The imbalance is drawn per replicate: fingerprint and pool do not depend on it."""
    tailed = DataConfig.model_validate(
        {"imbalance": {"profile": "exponential", "train_ratio": 0.1}}
    )
    assert load(tailed).fingerprint == load(DataConfig()).fingerprint


def test_loading_images_or_tables_needs_no_torch():
    """The torch-free checks of a spec load data in a process without torch."""
    script = "import sys, trainers.data, trainers.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_unknown_data_set_names_the_nearest():
    """A misspelt name is answered with the nearest one."""
    assert "'cifar10'" in _refusal(DataConfig(dataset="cifar_10"))
    assert "digits" in DATASETS


def test_a_key_that_the_data_set_does_not_read_is_refused():
    """A path beside the embedded digits would be silently ignored otherwise."""
    message = _refusal(DataConfig(path="x.npz"))
    assert message == "data.path: 'x.npz' is not used by dataset 'digits': leave it out"


# Archives.


def test_npz_keeps_given_parts_and_holds_out_validation(tmp_path):
    """x_test is the test split as it is; validation comes out of x_train; NHWC becomes NCHW."""
    arrays = _parts()
    dataset = load(_npz(tmp_path / "d.npz", **arrays))
    assert np.array_equal(dataset.x["test"], arrays["x_test"].transpose(0, 3, 1, 2))
    assert dataset.y["test"].tolist() == arrays["y_test"].tolist()
    assert len(dataset.y["train"]) + len(dataset.y["val"]) == 40
    assert dataset.classes == ("0", "1", "2")


def test_npz_with_a_validation_part(tmp_path):
    """x_val and y_val are the validation split, and the pool stays whole."""
    x, y = _arrays(12)
    dataset = load(_npz(tmp_path / "d.npz", **_parts(x_val=x, y_val=y)))
    assert dataset.facts["counts"]["val"] == [4, 4, 4]
    assert len(dataset.y["train"]) == 40


def test_npz_with_a_split_array_and_class_names(tmp_path):
    """0, 1, 2 mark train, val and test; `classes` names the labels, in its order."""
    x, y = _arrays()
    split = np.arange(60) // 3 % 3
    names = np.array(["zebra", "ant & bee", "3-toed.sloth"])
    config = _npz(tmp_path / "d.npz", images=x, labels=y, split=split, classes=names)
    dataset = load(config)
    assert dataset.classes == tuple(names)
    for code, part in enumerate(SPLITS):
        assert np.array_equal(dataset.x[part], x[split == code].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 1)])
def test_grey_images_have_one_channel(tmp_path, shape):
    """(N, H, W) and (N, H, W, 1) are the same images."""
    x, y = _arrays(shape=shape)
    dataset = load(_npz(tmp_path / "d.npz", x_train=x, y_train=y, x_test=x, y_test=y))
    assert dataset.x["test"].shape == (60, 1, 6, 6)
    assert dataset.mean.shape == (1,)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.float32])
def test_decimal_images_become_float32(tmp_path, dtype):
    """Images in 0..1 of any float type are float32; the statistics need no further division."""
    x, y = _arrays()
    arrays = {"x_train": (x / 255).astype(dtype), "x_test": (x / 255).astype(dtype)}
    dataset = load(_npz(tmp_path / "d.npz", **arrays, y_train=y, y_test=y))
    assert dataset.x["test"].dtype == np.float32
    assert dataset.mean == pytest.approx(dataset.x["train"].mean(axis=(0, 2, 3)), rel=1e-4)


def test_whole_numbers_become_bytes_with_statistics_in_units_of_one(tmp_path):
    """int64 images of 0..255 are stored as bytes; mean and deviation are of the bytes / 255."""
    arrays = _parts()
    x = arrays["x_train"].astype(np.int64)
    dataset = load(_npz(tmp_path / "d.npz", **(arrays | {"x_train": x})))
    assert dataset.x["train"].dtype == np.uint8
    expected = dataset.x["train"].std(axis=(0, 2, 3)) / 255
    assert dataset.std == pytest.approx(expected, rel=1e-5)


def test_a_constant_channel_has_deviation_one(tmp_path):
    """Dividing by the deviation must not make a black channel infinite."""
    arrays = _parts()
    for name in ("x_train", "x_test"):
        arrays[name] = arrays[name].copy()
        arrays[name][..., 2] = 7
    assert load(_npz(tmp_path / "d.npz", **arrays)).std[2] == 1.0


def test_text_labels_are_class_names(tmp_path):
    """Labels of text are sorted into classes."""
    names = np.array(["pear", "apple", "fig"])
    arrays = _parts()
    for part in ("y_train", "y_test"):
        arrays[part] = names[arrays[part]]
    dataset = load(_npz(tmp_path / "d.npz", **arrays))
    assert dataset.classes == ("apple", "fig", "pear")
    assert [dataset.classes[c] for c in dataset.y["test"][:3]] == arrays["y_test"][:3].tolist()


X, Y = _arrays()
BAD_ARCHIVES = {
    "lacks y_test": (_parts(y_test=None), "lacks the array 'y_test' and holds x_train"),
    "lacks y_val": (_parts(x_val=X), "lacks the array 'y_val'"),
    "nothing known": ({"a": X, "b": Y}, "holds a, b: it needs x_train, y_train, x_test, y_test or"),
    "tables": (_parts(x_train=X[:40, 0, 0]), "of shape (40, 3): (N, H, W) or (N, H, W, 3)"),
    "channels first": (_parts(x_train=X[:40].transpose(0, 3, 1, 2)), "of shape (40, 3, 6, 6)"),
    "other size in test": (_parts(x_test=X[40:, :5]), "other images in test"),
    "fewer labels": (_parts(y_train=Y[:39]), "has 40 images and 39 labels in train"),
    "labels of three axes": (_parts(y_train=Y[:40, None, None]), "train labels of shape (40, 1, 1"),
    "decimal labels": (_parts(y_train=Y[:40] / 2), "decimal numbers in the labels of train"),
    "negative label": (
        _parts(y_train=Y[:40] - 1, classes=np.array(["a", "b", "c"])),
        "has the label -1 in train",
    ),
    "label past the names": (_parts(classes=np.array(["a", "b"])), "and `classes` names 2"),
    "class without samples": (
        _parts(classes=np.array(["a", "b", "c", "d"])),
        "has no training sample of class 'd'",
    ),
    "class in test only": (_parts(y_test=np.full(20, 9)), "no training sample of class '9'"),
    "equal names": (_parts(classes=np.array(["a", "b", "a"])), "two classes called 'a'"),
    "unprintable name": (_parts(classes=np.array(["a", "b", "c\nd"])), "called 'c\\nd'"),
    "classes of objects": (_parts(classes=np.array(["a", 2, None], dtype=object)), "never read"),
    "text and numbers": (
        _parts(y_test=np.array(["a", "b"] * 10)),
        "has no training sample of class 'a'",
    ),
    "text beside names": (
        _parts(
            y_train=np.array(["a", "b"] * 20),
            y_test=np.array(["a", "b"] * 10),
            classes=np.array(["a", "b"]),
        ),
        "has `classes` and text labels in train: make the labels their indices",
    ),
    "one class": (
        _parts(y_train=np.zeros(40, int), y_test=np.zeros(20, int)),
        "has one class only, '0'",
    ),
    "no rows": (_parts(x_train=X[:0], y_train=Y[:0]), "has no samples for train"),
    "NaN": (_parts(x_train=np.where(X[:40] > 9, X[:40] / 255, np.nan)), "NaN or infinite pixels"),
    "too large decimals": (_parts(x_train=X[:40].astype(float)), "scale them to 0..1"),
    "too large integers": (_parts(x_train=X[:40].astype(int) * 2), "scale them to 0..255"),
    "objects": (_parts(y_train=np.array([{}] * 40)), "Python objects, or damaged, which is never"),
    "text images": (_parts(x_train=X[:40].astype(str)), "images of type <U3"),
    "unknown split": (
        {"images": X, "labels": Y, "split": np.full(60, 3)},
        "other values than 0 (train), 1 (val) and 2 (test)",
    ),
    "nothing to train on": ({"images": X, "labels": Y, "split": np.ones(60, int)}, "without 0"),
    "short split": (
        {"images": X, "labels": Y, "split": np.zeros(9, int)},
        "give one entry for each image",
    ),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_a_bad_archive_is_refused_with_its_reason(tmp_path, case):
    """One line names data.path, the file and what to do."""
    arrays, reason = BAD_ARCHIVES[case]
    config = _npz(tmp_path / "bad.npz", **arrays)
    message = _refusal(config)
    assert message.startswith(f"data.path: {config.path!r} ")
    assert reason in message


def test_files_that_are_no_archives_are_refused_and_never_unpickled(tmp_path):
    """A pickle, a lone array, a cut archive, an empty file: none is run or read."""
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    pickled, alone, cut, empty = (tmp_path / f"{name}.npz" for name in "pqrs")
    pickled.write_bytes(pickle.dumps(Payload()))
    with alone.open("wb") as file:
        np.save(file, X)
    np.savez(cut, **_parts())
    cut.write_bytes(cut.read_bytes()[:-200])
    empty.touch()
    for path in (pickled, cut, empty):
        assert "is not a NumPy archive" in _refusal(DataConfig(dataset="npz", path=str(path)))
    assert "is a single array" in _refusal(DataConfig(dataset="npz", path=str(alone)))
    assert not canary.exists()


def test_what_stands_in_place_of_a_file_is_named(tmp_path):
    """Missing path, folder, loop of links and a pipe, which would hang."""
    loop, pipe = tmp_path / "loop", tmp_path / "pipe"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    assert "data.path: None is missing" in _refusal(DataConfig(dataset="npz"))
    reasons = {
        tmp_path / "none.npz": "No such file",
        tmp_path: "is not a file",
        loop: "Too many levels of symbolic links",
        pipe: "is not a file",
        Path("nul\0byte"): "cannot be opened",
    }
    for path, reason in reasons.items():
        assert reason in _refusal(DataConfig(dataset="npz", path=str(path)))


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    """Missing permission is named as such, before anything is opened."""
    config = _npz(tmp_path / "d.npz", **_parts())
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    assert "cannot be read: its permissions do not allow it" in _refusal(config)


# Encoded images in Parquet.


def test_encoded_images_are_decoded(tmp_path):
    """PNG bytes come back as the pixels they were made of, matched to their labels."""
    x, y = _arrays()
    dataset = load(_images(tmp_path / "d.parquet", metadata={"classes": "cat,dog,newt"}))
    assert dataset.classes == ("cat", "dog", "newt")
    seen = {image.tobytes(): label for image, label in zip(x.transpose(0, 3, 1, 2), y, strict=True)}
    for split in SPLITS:
        for image, label in zip(dataset.x[split], dataset.y[split], strict=True):
            assert seen[image.tobytes()] == label


@pytest.mark.parametrize("metadata", [None, {"classes": '["a, b", "c", "d"]'}])
def test_class_names_may_be_absent_or_json(tmp_path, metadata):
    """Without names the labels are the names; a JSON list may hold commas."""
    dataset = load(_images(tmp_path / "d.parquet", metadata=metadata))
    assert dataset.classes == (("0", "1", "2") if metadata is None else ("a, b", "c", "d"))


def test_a_test_file_is_the_test_split(tmp_path):
    """`test_path` gives the test split, whole."""
    other = _images(tmp_path / "t.parquet", labels=np.arange(60)[::-1] % 3)
    config = _images(tmp_path / "d.parquet", test_path=other.path)
    dataset = load(config)
    assert len(dataset.y["test"]) == 60
    assert np.array_equal(dataset.y["test"], np.arange(60)[::-1] % 3)


def test_grey_encoded_images_and_another_label_column(tmp_path):
    """Mode L has one channel; `target` names the label's column."""
    x, y = _arrays(shape=(5, 7))
    table = pa.table({"image": [_encoded(image) for image in x], "kind": y.astype(str)})
    pq.write_table(table, tmp_path / "d.parquet")
    config = DataConfig(dataset="images", path=str(tmp_path / "d.parquet"), target="kind")
    assert load(config).x["train"].shape[1:] == (1, 5, 7)


def _with(image: bytes) -> list[bytes]:
    x, _ = _arrays()
    images = [_encoded(one) for one in x]
    images[7] = image
    return images


def _bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few bytes: header and one short block."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


GREY = _arrays(shape=(6, 6))[0]
BAD_IMAGES = {
    "truncated PNG": (_encoded(X[7])[:60], "cannot be decoded"),
    "truncated JPEG": (_encoded(X[7], "JPEG")[:-40], "cannot be decoded"),
    "not an image": (b"GIF89a, or so", "not a JPEG, PNG, WebP or BMP"),
    "empty": (b"", "not a JPEG, PNG, WebP or BMP"),
    "a pickle": (pickle.dumps(X[7]), "not a JPEG, PNG, WebP or BMP"),
    "another size": (_encoded(X[7][:5]), "has 6 x 5 pixels, others have 6 x 6: set data.size"),
    "16 bits": (_encoded(X[7, ..., 0].astype(np.uint16)), "Pillow's mode I;16, more than 8 bits"),
    "too large": (_encoded(np.zeros((2, 1025), np.uint8)), "has 1025 x 2 pixels, at most 1024"),
    "bomb": (_bomb(), "cannot be decoded (Image size (3600000000 pixels) exceeds limit"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_refused_with_its_row(tmp_path, case):
    """The row is named, and what is wrong with it."""
    image, reason = BAD_IMAGES[case]
    message = _refusal(_images(tmp_path / "d.parquet", _with(image)))
    assert "has an image, row 7 counted from 0, that " in message
    assert reason in message


def test_columns_that_are_no_images_or_labels_are_refused(tmp_path):
    """A missing column names the nearest; text is no image; a row without one is counted."""
    path = tmp_path / "d.parquet"
    config = DataConfig(dataset="images", path=str(path))
    reasons = {
        "there is none; the nearest is 'images'": {"images": [b"x"], "label": [1]},
        "of type string: bytes of image files": {"image": ["x"], "label": [1]},
        "has 1 rows without an image": {"image": [b"x", None], "label": [1, 0]},
        "has 1 row without a class in column 'label'": {"image": [b"x"] * 2, "label": [1, None]},
    }
    for reason, columns in reasons.items():
        pq.write_table(pa.table(columns), path)
        assert reason in _refusal(config)


def test_files_that_disagree_on_classes_are_refused(tmp_path):
    """Labels of two files mean the same only if their names do."""
    other = _images(tmp_path / "t.parquet", metadata={"classes": "a,c,b"})
    config = _images(tmp_path / "d.parquet", metadata={"classes": "a,b,c"}, test_path=other.path)
    assert _refusal(config).startswith("data.test_path: ")


# torchvision's sets, on files made here in their layout.


def _idx(array: np.ndarray) -> bytes:
    sizes = b"".join(struct.pack(">I", size) for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def _mnist(folder: Path, *, packed=False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(RNG_SEED)
    folder.mkdir(parents=True)
    x = rng.integers(0, 256, size=(80, 28, 28), dtype=np.uint8)
    y = np.arange(80) % 10
    for stem in ("train", "t10k"):
        for kind, array in (("images-idx3", x), ("labels-idx1", y)):
            name, content = f"{stem}-{kind}-ubyte", _idx(array)
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return x, y


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_read_from_its_folder(tmp_path, packed):
    """The IDX files, packed or not, give 28x28 grey images and their labels."""
    x, y = _mnist(tmp_path / "MNIST" / "raw", packed=packed)
    dataset = load(DataConfig(dataset="mnist", path=str(tmp_path)))
    assert np.array_equal(dataset.x["test"][:, 0], x)
    assert np.array_equal(dataset.y["test"], y)
    assert len(dataset.y["train"]) + len(dataset.y["val"]) == 80


def test_fashion_mnist_has_its_class_names(tmp_path):
    """The third class of FashionMNIST is a pullover."""
    _mnist(tmp_path / "FashionMNIST" / "raw")
    assert load(DataConfig(dataset="fashion_mnist", path=str(tmp_path))).classes[2] == "Pullover"


def test_damaged_or_missing_mnist_is_refused(tmp_path):
    """A cut file is named; a folder without the set says that nothing is downloaded."""
    config = DataConfig(dataset="mnist", path=str(tmp_path))
    assert "nothing is downloaded here" in _refusal(config)
    _mnist(tmp_path / "MNIST" / "raw")
    cut = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    cut.write_bytes(cut.read_bytes()[:-1])
    assert "has a damaged t10k-images-idx3-ubyte" in _refusal(config)
    cut.write_bytes(b"")
    assert "has a damaged t10k-images-idx3-ubyte" in _refusal(config)


@pytest.fixture
def cifar_folder(tmp_path, monkeypatch):
    """A CIFAR-10 of 20 images; torchvision is given their hashes."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    rng = np.random.default_rng(RNG_SEED)
    data = rng.integers(0, 256, size=(40, 3072), dtype=np.uint8)
    batch = pickle.dumps({"data": data, "labels": [i % 10 for i in range(40)]})
    meta = pickle.dumps({"label_names": [f"kind {i}" for i in range(10)]})
    for name, content in (("data_batch_1", batch), ("test_batch", batch), ("batches.meta", meta)):
        (folder / name).write_bytes(content)
    mark = hashlib.md5(batch).hexdigest()  # noqa: S324
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", mark]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", mark]])
    names = hashlib.md5(meta).hexdigest()  # noqa: S324
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": names})
    return tmp_path, data


def test_cifar10_is_read_by_torchvision(cifar_folder):
    """Rows of 3,072 bytes are channel, row, column; names come from the set's own file."""
    folder, data = cifar_folder
    dataset = load(DataConfig(dataset="cifar10", path=str(folder)))
    assert np.array_equal(dataset.x["test"], data.reshape(-1, 3, 32, 32))
    assert dataset.classes[3] == "kind 3"


def test_a_changed_cifar_file_is_never_unpickled(cifar_folder):
    """Its files are pickles: one that has not the published hash is refused unread."""
    folder, _ = cifar_folder
    (folder / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert "or it is damaged" in _refusal(DataConfig(dataset="cifar10", path=str(folder)))


# Real data, where SWEEPER_DATA names their folder.


def test_cifar10_in_parquet_has_ten_even_classes(real_data, tmp_path):
    """One row group of the training file: 5,000 JPEGs, 500 of each class, with their names."""
    file = pq.ParquetFile(real_data / "cifar10" / "train.parquet")
    pq.write_table(file.read_row_group(0), tmp_path / "d.parquet")
    config = DataConfig(
        dataset="images", path=str(tmp_path / "d.parquet"), max_per_class=60, test_fraction=0.1
    )
    dataset = load(config)
    assert dataset.classes[:2] == ("airplane", "automobile")
    assert dataset.facts["counts"] == {"train": [60] * 10, "val": [60] * 10, "test": [50] * 10}
    assert dataset.facts["shape"] == [3, 32, 32]
    assert dataset.mean == pytest.approx([0.491, 0.482, 0.447], abs=0.02)
    assert dataset.std == pytest.approx([0.245, 0.243, 0.261], abs=0.02)


def test_ham10000_has_its_own_split_by_lesion(real_data):
    """The shipped split is used as it is: all seven counts of each part."""
    dataset = load(DataConfig(dataset="npz", path=str(real_data / "ham10000" / "ham10000.npz")))
    assert dataset.classes == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert dataset.facts["counts"] == {
        "train": [228, 357, 768, 80, 779, 4693, 99],
        "val": [33, 54, 111, 11, 111, 671, 14],
        "test": [66, 103, 220, 24, 223, 1341, 29],
    }
