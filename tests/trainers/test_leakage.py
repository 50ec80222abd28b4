"""Samples that are not independent: groups that stay whole, and equal samples that are counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_packs import pack

from trainers.config import Config, ConfigError
from trainers.data import load
from trainers.data.repeats import repeats
from trainers.data_config import DataConfig
from trainers.metrics import layout
from trainers.notes import notes

PATIENTS, ROWS = 60, 8


def _patients(tmp_path, *, split=None):
    """60 patients of 8 nearly equal rows, each patient's label drawn at random."""
    rng = np.random.default_rng(11)
    base, label = rng.normal(size=(PATIENTS, 12)), rng.permutation(np.arange(PATIENTS) % 2)
    rows = np.repeat(base, ROWS, axis=0) + rng.normal(0, 0.05, (PATIENTS * ROWS, 12))
    frame = pd.DataFrame(rows, columns=[f"f{i}" for i in range(12)])
    frame["patient"] = np.repeat([f"p{i:02d}" for i in range(PATIENTS)], ROWS)
    frame["y"] = np.repeat(label, ROWS)
    frame.to_csv(tmp_path / "patients.csv", index=False)
    return {"dataset": "table", "path": str(tmp_path / "patients.csv"), "target": "y"}


def _test_accuracy(data):
    train = {"model": "mlp", "width": 0.5, "epochs": 20, "batch_size": 16, "lr": 0.05}
    config = Config.model_validate({"data": data, "train": train})
    dataset = load(config.data)
    trainer = pack(dataset, config)
    for _ in range(trainer.rounds):
        (result,) = trainer.train_round()
    names = layout(dataset.classes, dataset.y)
    return float(result.numbers[names.index(("test", "accuracy", ""))]), dataset


def test_labels_drawn_at_random_cannot_be_known_of_new_patients(tmp_path):
    """With groups the accuracy on new patients is chance; without, their other rows give it away.

    A patient's eight rows are all right or all wrong, nearly, so the test patients are counted.
    """
    data = _patients(tmp_path)
    leaking, _ = _test_accuracy({**data})
    assert leaking > 0.95
    honest, dataset = _test_accuracy({**data, "group": "patient"})
    patients = len(dataset.y["test"]) // ROWS
    low, high = stats.binom.interval(0.99, patients, 0.5)
    assert 14 <= patients <= 16
    assert low / patients <= honest <= high / patients


def test_the_group_is_no_feature(tmp_path):
    """A name that stands for the label must not be learned."""
    dataset = load(DataConfig(group="patient", **_patients(tmp_path)))
    assert dataset.x["train"].shape[1] == 12
    assert dataset.codes["train"].shape[1] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": "pacient"}, "data.group: 'pacient' needs a column 'pacient'"),
        ({"group": "y"}, "data.group: 'y' is the class"),
        ({"dataset": "digits", "path": None, "target": None, "group": "a"},
         "data.group: 'a' is not used by dataset 'digits'"),
    ],
)  # fmt: skip
def test_a_group_that_cannot_be_read_is_named(tmp_path, change, message):
    """The key, its value, and what is wrong with it."""
    with pytest.raises(ConfigError) as told:
        load(DataConfig.model_validate(_patients(tmp_path) | change))
    assert str(told.value).startswith(message)


def test_rows_without_a_group_are_refused_with_their_number(tmp_path):
    """A missing patient may be anybody."""
    data = _patients(tmp_path)
    frame = pd.read_csv(data["path"])
    frame.loc[[3, 9], "patient"] = None
    frame.to_csv(data["path"], index=False)
    with pytest.raises(ConfigError, match=r"has 2 rows of data\.path without a value"):
        load(DataConfig(group="patient", **data))


def test_files_that_share_a_group_are_refused_with_the_count(tmp_path):
    """A test file with the training file's patients is no test file."""
    data = _patients(tmp_path)
    frame = pd.read_csv(data["path"])
    frame[frame["patient"] < "p50"].to_csv(data["path"], index=False)
    frame[frame["patient"] >= "p47"].to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(ConfigError, match="3 groups are both in the file's train part and in its"):
        load(DataConfig(group="patient", test_path=str(tmp_path / "test.csv"), **data))
    frame[frame["patient"] >= "p50"].to_csv(tmp_path / "test.csv", index=False)
    dataset = load(DataConfig(group="patient", test_path=str(tmp_path / "test.csv"), **data))
    assert len(dataset.y["test"]) == 80


def test_an_archive_names_its_groups_in_an_array(tmp_path):
    """Beside `images`, or with a part's name at its end."""
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 255, (90, 4, 4), dtype=np.uint8), np.arange(90) % 3
    patient = np.arange(90) // 6
    np.savez(tmp_path / "whole.npz", images=x, labels=y, split=np.zeros(90, int), patient=patient)
    np.savez(tmp_path / "parts.npz", x_train=x[:60], y_train=y[:60], patient_train=patient[:60],
             x_test=x[48:], y_test=y[48:], patient_test=patient[48:])  # fmt: skip
    whole = load(DataConfig(dataset="npz", path=str(tmp_path / "whole.npz"), group="patient"))
    assert all(len(own) % 6 == 0 for own in whole.y.values())
    with pytest.raises(ConfigError, match="2 groups are both in"):
        load(DataConfig(dataset="npz", path=str(tmp_path / "parts.npz"), group="patient"))


# Equal samples are counted when the data are read.


def _counted(x):
    """The counts by plain loops over rows."""
    rows = {split: [tuple(row) for row in own.reshape(len(own), -1).tolist()]
            for split, own in x.items()}  # fmt: skip
    found = {split: sum(n - 1 for n in Counter(own).values()) for split, own in rows.items()}
    found["val_in_train"] = sum(row in rows["train"] for row in rows["val"])
    found["test_in_others"] = sum(row in rows["train"] + rows["val"] for row in rows["test"])
    return found


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_equal_samples_are_counted_as_a_loop_would(dtype):
    """Within each split, and of a split in those that it is to be independent of."""
    rng = np.random.default_rng(4)
    x = {split: rng.integers(0, 2, (n, 2, 3)).astype(dtype)
         for split, n in (("train", 60), ("val", 20), ("test", 30))}  # fmt: skip
    assert repeats(x, None) == _counted(x)


def test_rows_that_differ_in_a_category_are_not_equal():
    """The codes count as much as the numbers; minus zero is zero."""
    x = {"train": np.array([[0.0], [-0.0]], dtype=np.float32)}
    assert repeats(x, {"train": np.array([[1], [1]])})["train"] == 1
    assert repeats(x, {"train": np.array([[1], [2]])})["train"] == 0


def test_a_test_file_that_is_the_training_file_is_told(tmp_path):
    """All test rows are known then, from the training or the validation split."""
    data = _patients(tmp_path)
    facts = load(DataConfig(test_path=data["path"], **data)).facts
    assert facts["repeats"]["test_in_others"] == PATIENTS * ROWS
    assert notes(facts)[0].startswith("All 480 test samples are equal to training or validation")


def test_repeated_rows_are_told_with_their_shares(tmp_path):
    """Two copies of each row: most test rows have their copy in the pool."""
    data = _patients(tmp_path)
    pd.concat([pd.read_csv(data["path"])] * 2).to_csv(data["path"], index=False)
    facts = load(DataConfig(**data)).facts
    told = notes(facts)
    seen, tested = facts["repeats"]["test_in_others"], sum(facts["counts"]["test"])
    assert 0.6 * tested < seen < 0.9 * tested
    assert told[0].startswith(f"{seen:,} of {tested:,} ({100 * seen / tested:.2g} %) test samples")
    assert "validation samples are equal to a training sample" in told[1]
    assert told[2].startswith("Samples that repeat an earlier one of their split: ")


def test_data_without_repeats_have_nothing_to_tell():
    """The digits that come with scikit-learn are all different."""
    assert notes(load(DataConfig()).facts) == []
