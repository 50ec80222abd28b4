"""A saved model is the network that was evaluated: same logits, read back from files alone."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from trainers import data
from trainers.__main__ import main, read
from trainers.config import Config, ConfigError
from trainers.data.dataset import Dataset
from trainers.data.unseen import Samples
from trainers.data.unseen import read as read_samples
from trainers.data_config import DataConfig
from trainers.loop import Member, PackTrainer, RoundResult
from trainers.saved import Model, load, save

DIGITS = {"dataset": "digits", "max_per_class": 20}
SMALL = {"width": 0.25, "epochs": 2, "batch_size": 16, "lr": 0.05}


def trained(
    config: Config, replicates: tuple[int, ...] = (0,)
) -> tuple[Dataset, PackTrainer, list[RoundResult]]:
    """A pack trained to its end."""
    dataset = data.load(config.data)
    trainer = PackTrainer(dataset, [Member(config, r) for r in replicates])
    results: list[RoundResult] = []
    while trainer.round < trainer.rounds:
        results = trainer.train_round()
    return dataset, trainer, results


def of_split(dataset: Dataset, split: str) -> Samples:
    """A split of a data set, as samples."""
    codes = None if dataset.codes is None else dataset.codes[split]
    rows = np.arange(len(dataset.y[split]))
    return Samples(dataset.x[split], codes, dataset.y[split], rows)


def rows(count: int = 240, seed: int = 3) -> list[dict[str, object]]:
    """A table with numbers that are missing, words that are missing, and a rare level."""
    rng = np.random.default_rng(seed)
    found = []
    for at in range(count):
        kind = at % 3
        age: object = round(float(rng.normal(20 * kind, 5)), 3) if rng.random() > 0.1 else ""
        town = ["Ulm", "Bern", "Graz", ""][int(rng.integers(4))]
        town = "Rust" if at == 7 else town
        found.append({"age": age, "town": town, "size": int(rng.integers(9)), "kind": "abc"[kind]})
    return found


def write_csv(path: Path, found: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    return path


def table_config(path: Path, **train: object) -> Config:
    block = {"dataset": "table", "path": str(path), "target": "kind"}
    return Config.model_validate({"data": block, "train": {**SMALL, "model": "mlp", **train}})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"norm": "group"},
        {"norm": "none", "lr": 0.01},
        {"norm_statistics": "running"},
        {"depth": 10},
        {"ssl": {"weight": 0.1}},
        {"precision": "float64"},
        {"post_hoc_tau": 1.5},
        {"average": "swa"},
        {"head": "cosine", "loss": "ldam"},
        {"ssl": {"weight": 0.1, "loss": "byol"}, "shortcut": "padding"},
        {"ssl": {"weight": 0.1, "loss": "masked"}},
    ],
    ids=str,
)
def test_images_logits_are_the_trainers_own(more: dict[str, object], tmp_path: Path) -> None:
    """To the last bit, on both splits, whatever the norm, the depth and the precision."""
    config = Config.model_validate({"data": DIGITS, "train": {**SMALL, **more}})
    dataset, trainer, [result] = trained(config)
    expected = trainer.evaluate()
    save(tmp_path / "m", trainer, dataset, result)
    model = load(tmp_path / "m")
    for split in ("val", "test"):
        found = model.logits(of_split(dataset, split))
        torch.testing.assert_close(found, expected[split][0], rtol=0, atol=0)


def test_each_member_of_a_pack_is_saved_as_itself(tmp_path: Path) -> None:
    """The second of three networks that are trained as one, with its own numbers."""
    config = Config.model_validate({"data": DIGITS, "train": SMALL})
    dataset, trainer, results = trained(config, (0, 1, 2))
    expected = trainer.evaluate()["test"][1]
    save(tmp_path, trainer, dataset, results[1])
    model = load(tmp_path)
    torch.testing.assert_close(
        model.logits(of_split(dataset, "test")), expected, rtol=1e-5, atol=1e-5
    )
    assert model.facts["replicate"] == 1
    recall = [block["recall"] for block in model.facts["metrics"]["test"]["classes"].values()]
    right = expected.argmax(1).numpy() == dataset.y["test"]
    own = [right[dataset.y["test"] == label].mean() for label in range(10)]
    assert recall == pytest.approx(own, abs=1e-6)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"numerical_embedding": "piecewise_linear"},
        {"model": "ft_transformer"},
        {"model": "tabm", "tabm": {"submodels": 3}},
    ],
    ids=str,
)
def test_a_tables_file_gives_the_trainers_logits(more: dict[str, object], tmp_path: Path) -> None:
    """CSV read anew, with words, a level the pool never saw and missing values; Parquet as well."""
    path = write_csv(tmp_path / "t.csv", rows())
    dataset, trainer, [result] = trained(table_config(path, **more))
    assert dataset.codes is not None
    assert len(dataset.cardinalities) == 1
    save(tmp_path / "m", trainer, dataset, result)
    model = load(tmp_path / "m")
    expected = trainer.evaluate()["test"][0]
    torch.testing.assert_close(model.logits(of_split(dataset, "test")), expected, rtol=0, atol=0)
    whole = read_samples(path, model.inputs, model.classes)
    every = np.concatenate([dataset.x[split] for split in ("train", "val", "test")])
    assert sorted(map(tuple, whole.x)) == sorted(map(tuple, every))
    assert whole.y is not None
    assert [model.classes[label] for label in whole.y[:3]] == ["a", "b", "c"]


def test_order_and_further_columns_of_a_table_do_not_matter(tmp_path: Path) -> None:
    """Columns are found by name; the class may be absent, or there and empty."""
    found = rows()
    dataset, trainer, [result] = trained(table_config(write_csv(tmp_path / "t.csv", found)))
    save(tmp_path / "m", trainer, dataset, result)
    model = load(tmp_path / "m")
    plain = model.logits(read_samples(tmp_path / "t.csv", model.inputs, model.classes))
    moved = [{"id": 1, "town": r["town"], "size": r["size"], "age": r["age"]} for r in found]
    samples = read_samples(write_csv(tmp_path / "u.csv", moved), model.inputs, model.classes)
    assert samples.y is None
    assert torch.equal(model.logits(samples), plain)
    empty = write_csv(tmp_path / "e.csv", [{**r, "kind": ""} for r in found])
    assert read_samples(empty, model.inputs, model.classes).y is None


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_images_in_an_archive_and_in_parquet_are_read_alike(tmp_path: Path) -> None:
    """uint8 images give the same probabilities from .npz and as PNG in Parquet."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (rng.integers(0, 120, (90, 8, 8)) + 60 * y[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "d.npz", images=x, labels=y, split=np.repeat([0, 1, 2], 30),
             classes=np.array(["cat", "dog", "eel"]))  # fmt: skip
    block = {"dataset": "npz", "path": str(tmp_path / "d.npz")}
    config = Config.model_validate({"data": block, "train": SMALL})
    dataset, trainer, [result] = trained(config)
    save(tmp_path / "m", trainer, dataset, result)
    model = load(tmp_path / "m")
    one = read_samples(tmp_path / "d.npz", model.inputs, model.classes)
    assert one.rows.tolist() == list(range(60, 90))
    torch.testing.assert_close(model.logits(one), trainer.evaluate()["test"][0], rtol=0, atol=0)
    names = [model.classes[label] for label in y[60:]]
    pq.write_table(
        pa.table({"image": [png(image) for image in x[60:]], "label": names}),
        tmp_path / "d.parquet",
    )
    two = read_samples(tmp_path / "d.parquet", model.inputs, model.classes)
    assert np.array_equal(model.probabilities(one), model.probabilities(two))
    assert one.y is not None
    assert two.y is not None
    assert one.y.tolist() == two.y.tolist()
    assert model.probabilities(two).sum(1) == pytest.approx(1.0)
    assert str(tmp_path) not in (tmp_path / "m" / "model.json").read_text()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of digits."""
    folder = tmp_path_factory.mktemp("digits")
    dataset, trainer, [result] = trained(Config.model_validate({"data": DIGITS, "train": SMALL}))
    save(folder, trainer, dataset, result)
    return load(folder)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((3, 9, 8))}, "has images of 9 x 8 pixels, grey; the model takes"),
        ({"images": np.zeros((3, 8, 8, 3))}, "has images of 8 x 8 pixels, colour; the model takes"),
        ({"pixels": np.zeros((3, 8, 8))}, "holds pixels: the model reads an array called images"),
        ({"images": np.full((3, 8, 8), 9.0)}, "scale them to 0..1"),
        ({"x": np.zeros((3, 8, 8)), "y": np.zeros(2, int)}, "of shape (2,): give one for each"),
        ({"x": np.zeros((3, 8, 8)), "y": np.zeros(3)}, "labels of type float64"),
        ({"images": np.zeros((3, 8, 8)), "split": np.full(5, 2)}, "and a split of shape (5,)"),
    ],
)  # fmt: skip
def test_images_that_do_not_fit_are_refused(
    arrays: dict[str, np.ndarray], message: str, digits: Model, tmp_path: Path
) -> None:
    """One line has what the data are, and what the model takes."""
    np.savez(tmp_path / "d.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError) as caught:
        read_samples(tmp_path / "d.npz", digits.inputs, digits.classes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_that_the_model_does_not_know_is_kept_by_name(
    digits: Model, tmp_path: Path
) -> None:
    """Its rows are read, with -1 and the file's own name; so are rows without a class."""
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 8, 8)), y=np.array([1, 2, 77]))
    samples = read_samples(tmp_path / "d.npz", digits.inputs, digits.classes)
    assert samples.y is not None
    assert samples.names is not None
    assert samples.y.tolist() == [1, 2, -1]
    assert samples.names.tolist() == ["1", "2", "77"]
    found = rows()
    dataset, trainer, [result] = trained(table_config(write_csv(tmp_path / "t.csv", found)))
    save(tmp_path / "m", trainer, dataset, result)
    model = load(tmp_path / "m")
    for labels, names, places in (
        ("abd", ["a", "b", "d"], [0, 1, -1]),
        (["a", "", "A"], ["a", "", "A"], [0, -1, -1]),
        ("012", ["a", "b", "c"], [0, 1, 2]),
        ("123", ["1", "2", "3"], [-1, -1, -1]),
    ):
        new = [{**row, "kind": label} for row, label in zip(found, labels, strict=False)]
        samples = read_samples(write_csv(tmp_path / "u.csv", new), model.inputs, model.classes)
        assert samples.names is not None
        assert samples.y is not None
        assert (samples.names.tolist(), samples.y.tolist()) == (names, places)


def test_tables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Every missing column is named; words for numbers are; an archive is no table."""
    found = rows()
    dataset, trainer, [result] = trained(table_config(write_csv(tmp_path / "t.csv", found)))
    save(tmp_path / "m", trainer, dataset, result)
    model = load(tmp_path / "m")
    cases = {
        "lacks the 2 columns 'age', 'town' of the training data; it has size":
            [{"size": r["size"]} for r in found],
        "has 'old' in row 0, counted from 0, of column 'age', which holds numbers":
            [{**r, "age": "old"} for r in found],
    }  # fmt: skip
    for message, wrong in cases.items():
        path = write_csv(tmp_path / "w.csv", wrong)
        with pytest.raises(ConfigError, match=r"^data: ") as caught:
            read_samples(path, model.inputs, model.classes)
        assert message in str(caught.value)
    np.savez(tmp_path / "d.npz", images=np.zeros((3, 8, 8)))
    with pytest.raises(ConfigError, match="this model takes a table"):
        read_samples(tmp_path / "d.npz", model.inputs, model.classes)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    """Other weights, broken JSON, another format, no file: each has its own message of one line."""
    dataset, trainer, [result] = trained(Config.model_validate({"data": DIGITS, "train": SMALL}))
    folder = tmp_path / "m"
    save(folder, trainer, dataset, result)
    facts, weights = (folder / "model.json").read_text(), folder / "model.safetensors"
    for text, message in {
        "{": "cannot be read",
        "{}": "cannot be read (KeyError)",
        json.dumps({**json.loads(facts), "format": 99}): "is of format 99",
        json.dumps({**json.loads(facts), "format": 1}): "train it again",
    }.items():
        (folder / "model.json").write_text(text)
        with pytest.raises(ConfigError) as caught:
            load(folder)
        assert message in str(caught.value)
    (folder / "model.json").write_text(facts)
    tensors = load_file(weights)
    save_file({**tensors, "head.bias": tensors["head.bias"] + 1}, weights)
    with pytest.raises(ConfigError, match="is damaged"):
        load(folder)
    with pytest.raises(ConfigError, match="is no model"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="is no folder"):
        load(tmp_path / "nowhere")


def test_the_command_saves_a_model_with_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--out keeps network and card; the evidence is shown as text, and changes no number."""
    text = f"data: {json.dumps(DIGITS)}\ntrain: {json.dumps(SMALL)}\n"
    (tmp_path / "plain.yaml").write_text(text)
    (tmp_path / "run.yaml").write_text(text + 'evidence: {question: "<script> | x", n: 5}\n')
    assert main([str(tmp_path / "plain.yaml")]) == 0
    numbers = capsys.readouterr().out
    assert main([str(tmp_path / "run.yaml"), "--out", str(tmp_path / "m")]) == 0
    assert capsys.readouterr().out == numbers
    card = (tmp_path / "m" / "README.md").read_text()
    last = json.loads(numbers.splitlines()[-1])
    assert f"{last['test.balanced_accuracy']:.4f}" in card
    assert r"question: \<script\> \| x" in card
    assert "arXiv:2312.02517" in card
    assert card.count("\n| 7 | 20 |") == 1
    assert "a .parquet with image files in a column image, or a folder of images" in card
    again = main([str(tmp_path / "run.yaml"), "--out", str(tmp_path / "m")])
    assert (again, capsys.readouterr().err.count("\n")) == (2, 1)
    assert main([str(tmp_path / "run.yaml"), "--out", str(tmp_path / "m"), "--force"]) == 0


@pytest.mark.parametrize("other", [False, True])
def test_evidence_from_other_data_is_said_where_the_model_is_trained_and_on_its_card(
    other: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that changed since `sweeper best` makes another model than the evidence is about."""
    mark = "0123" * 16 if other else data.load(DataConfig.model_validate(DIGITS)).fingerprint
    text = f"data: {json.dumps(DIGITS)}\ntrain: {json.dumps(SMALL)}\n"
    (tmp_path / "run.yaml").write_text(f"{text}evidence: {{data_fingerprint: {mark!r}}}\n")
    assert main([str(tmp_path / "run.yaml"), "--out", str(tmp_path / "m")]) == 0
    said = "The data are not those that the evidence for this configuration comes from"
    assert (said in capsys.readouterr().err) is other
    assert (said in (tmp_path / "m" / "README.md").read_text()) is other


def test_weights_have_the_networks_names(digits: Model, tmp_path: Path) -> None:
    """Parameters and statistics, float32, each its own tensor, without the projector."""
    dataset, trainer, [result] = trained(
        Config.model_validate({"data": DIGITS, "train": {**SMALL, "ssl": {"weight": 0.5}}})
    )
    save(tmp_path, trainer, dataset, result)
    tensors = load_file(tmp_path / "model.safetensors")
    assert {"stem.weight", "stem.norm.weight", "stem.norm.mean", "head.bias"} <= tensors.keys()
    assert not [name for name in tensors if "projector" in name]
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "is not a block of keys"),
        ("train: {lr: fast}\n", "train.lr: Input should be a valid number, not 'fast'"),
        ("evidences: {}\n", "evidences: Extra inputs are not permitted"),
        ("train: {lr: 0.1\n", "run.yaml"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2; of the keys beside data and train, only `evidence` may be there."""
    (tmp_path / "run.yaml").write_text(text)
    assert main([str(tmp_path / "run.yaml")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_paths_in_a_file_are_from_its_folder(tmp_path: Path) -> None:
    """As in a spec; absolute paths stay."""
    (tmp_path / "run.yaml").write_text("data: {dataset: table, path: t.csv, test_path: /u.csv}\n")
    config, evidence = read(tmp_path / "run.yaml")
    assert (config.data.path, config.data.test_path) == (str(tmp_path / "t.csv"), "/u.csv")
    assert evidence is None


def test_digits_from_a_file_are_the_digits_it_trained_on(digits: Model, tmp_path: Path) -> None:
    """The published images in 0..1 as an archive: most of them are known again."""
    flat, labels = map(np.asarray, load_digits(return_X_y=True))
    np.savez(tmp_path / "d.npz", x=(flat / 16).astype(np.float32).reshape(-1, 8, 8), y=labels)
    samples = read_samples(tmp_path / "d.npz", digits.inputs, digits.classes)
    assert samples.y is not None
    assert samples.y.tolist() == labels.tolist()
    assert (digits.probabilities(samples).argmax(1) == labels).mean() > 0.3
