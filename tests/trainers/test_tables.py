"""Tables: what becomes of numbers, categories and gaps, and what is refused with which words."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainers.config import ConfigError
from trainers.data import SPLITS, load
from trainers.data.columns import LevelCodes, NumberScale, Text
from trainers.data.schema import Rule, read
from trainers.data_config import DataConfig

ROWS = 60


def _frame(**columns) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    base = {
        "age": rng.integers(18, 80, ROWS),
        "town": rng.choice(["Ulm", "Bern", "Graz"], ROWS),
        "kind": np.resize(["good", "bad"], ROWS),
    }
    return pd.DataFrame(base | columns)


def _table(path: Path, frame: pd.DataFrame, **fields) -> DataConfig:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    settings: dict[str, Any] = {"dataset": "table", "path": str(path), "target": "kind"}
    return DataConfig(**settings | fields)


def _text(path: Path, text: str | bytes, **fields) -> DataConfig:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    settings: dict[str, Any] = {"dataset": "table", "path": str(path), "target": "kind"}
    return DataConfig(**settings | fields)


def _refusal(config: DataConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _categories(values: list[str | None]) -> Text:
    rule = Rule(lambda reason: ConfigError("data", "f.csv", reason))
    return read({"c": pa.chunked_array([values])}, {"c": "category"}, rule).texts["c"]


def _together(dataset, part: str) -> np.ndarray:
    return np.concatenate([getattr(dataset, part)[split] for split in SPLITS])


# What is read.


def test_numbers_and_categories_are_told_apart(tmp_path):
    """Numbers are numeric; text, booleans and categories are codes from 1 on."""
    frame = _frame(paid=np.resize([True, False, False], ROWS), share=np.linspace(0, 1, ROWS))
    frame["grade"] = pd.Categorical(np.resize(list("xyz"), ROWS))
    dataset = load(_table(tmp_path / "t.parquet", frame))
    assert dataset.kind == "table"
    assert dataset.facts["shape"] == [2]
    assert dataset.cardinalities == (4, 3, 4)
    assert sorted(np.unique(_together(dataset, "codes"))) == [1, 2, 3]
    assert dataset.classes == ("bad", "good")
    assert dataset.codes is not None
    assert {dataset.x["val"].dtype.str, dataset.codes["val"].dtype.str} == {"<f4", "<i8"}


def test_csv_packed_csv_and_parquet_are_the_same_data(tmp_path):
    """How a table is stored changes nothing: the fingerprints are equal."""
    frame = _frame(paid=np.resize([True, False, False], ROWS))
    frame.loc[3, "town"] = None
    files = ("t.csv", "t.csv.gz", "t.parquet")
    assert len({load(_table(tmp_path / f, frame)).fingerprint for f in files}) == 1


def test_the_class_may_be_any_column(tmp_path):
    """First, middle or last: the features keep their order."""
    frame = _frame()
    marks = {
        load(_table(tmp_path / "t.csv", frame[order])).fingerprint
        for order in (["kind", "age", "town"], ["age", "kind", "town"], ["age", "town", "kind"])
    }
    assert len(marks) == 1


def test_class_names_may_be_odd_or_numbers(tmp_path):
    """Names with & - . and leading digits stay as they are; numbers sort by size."""
    odd = ["2-4-d-injury", "pod-&-stem", "Rad.Flow"]
    frame = _frame(kind=np.resize(odd, ROWS))
    assert load(_table(tmp_path / "t.csv", frame)).classes == (
        "2-4-d-injury",
        "Rad.Flow",
        "pod-&-stem",
    )
    frame = _frame(kind=np.resize([10, 9, 2], ROWS))
    assert load(_table(tmp_path / "u.csv", frame)).classes == ("2", "9", "10")
    frame = _frame(kind=np.resize([True, False], ROWS))
    assert load(_table(tmp_path / "v.csv", frame)).classes == ("False", "True")


def test_missing_values_are_filled_and_marked(tmp_path):
    """A gap in a number is the pool's median, 0 after scaling, and marked; in a category, 0."""
    frame = _frame(age=np.arange(ROWS, dtype=float), row=np.arange(ROWS)[::-1])
    frame.loc[::4, "age"] = np.nan
    frame.loc[::4, "town"] = None
    for name in ("t.csv", "t.parquet"):
        dataset = load(_table(tmp_path / name, frame))
        x, codes = _together(dataset, "x"), _together(dataset, "codes")
        age, row, marked = x.T
        assert dataset.facts["shape"] == [3]
        assert (marked == 1).sum() == 15
        assert (age[marked == 1] == 0).all()
        assert (codes[marked == 1, 0] == 0).all()
        assert (codes[marked == 0, 0] > 0).all()
        assert len(np.unique(row)) == ROWS


def test_empty_text_is_missing_and_words_are_not(tmp_path):
    """An empty cell is missing in Parquet as in CSV; `none` and `dna` are levels."""
    frame = _frame(town=np.resize(["none", "dna", ""], ROWS))
    for name in ("t.csv", "t.parquet"):
        dataset = load(_table(tmp_path / name, frame))
        assert dataset.cardinalities == (3,)
        assert (_together(dataset, "codes") == 0).sum() == ROWS // 3


def test_a_test_file_is_read_like_the_training_file(tmp_path):
    """Columns by name in any order, unseen levels 0, all-empty columns missing."""
    other = _frame(town=np.resize(["Ulm", "Kiel"], ROWS))[["town", "kind", "age"]]
    other["age"] = np.nan
    path = _table(tmp_path / "test.csv", other).path
    dataset = load(_table(tmp_path / "t.csv", _frame(), test_path=path))
    assert dataset.codes is not None
    assert dataset.codes["test"][:4, 0].tolist() == [3, 0, 3, 0]  # Bern 1, Graz 2, Ulm 3
    assert (dataset.x["test"] == 0).all()
    assert len(dataset.y["train"]) + len(dataset.y["val"]) == ROWS


def test_scaling_is_fitted_on_the_pool_alone(tmp_path):
    """Changing a test value leaves every training value as it was."""
    frame, other = _frame(), _frame()
    other.loc[:, "age"] = other["age"] * 1000
    paths = [_table(tmp_path / f"{i}.csv", one).path for i, one in enumerate((frame, other))]
    one, two = (load(_table(tmp_path / "t.csv", frame, test_path=path)) for path in paths)
    assert np.array_equal(one.x["train"], two.x["train"])
    assert not np.array_equal(one.x["test"], two.x["test"])


def test_tables_of_one_sort_of_column(tmp_path):
    """Numbers only: no codes. Categories only: no numbers."""
    numbers = load(_table(tmp_path / "t.csv", _frame()[["age", "kind"]]))
    assert numbers.codes is not None
    assert (numbers.codes["train"].shape[1], numbers.cardinalities) == (0, ())
    words = load(_table(tmp_path / "u.csv", _frame()[["town", "kind"]]))
    assert words.x["train"].shape[1] == 0


def test_equal_rows_stay(tmp_path):
    """Doubled rows are data: none is dropped."""
    frame = _frame().iloc[np.repeat([0, 1], 30)]
    assert len(_together(load(_table(tmp_path / "t.csv", frame)), "y")) == ROWS


def test_a_class_of_one_row_is_trained_on(tmp_path):
    """It is in the pool; validation and test do without it."""
    frame = _frame()
    frame.loc[17, "kind"] = "rare"
    counts = load(_table(tmp_path / "t.csv", frame)).facts["counts"]
    assert [counts[split][2] for split in SPLITS] == [1, 0, 0]


def test_the_index_that_pandas_stores_is_no_feature(tmp_path):
    """A filtered frame brings its row numbers along: they are left out."""
    frame = _frame()
    frame[frame["age"] > 20].to_parquet(tmp_path / "t.parquet")
    config = DataConfig(dataset="table", path=str(tmp_path / "t.parquet"), target="kind")
    assert load(config).facts["shape"] == [1]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    """Excel's CSV begins with such a mark; the first column is found nevertheless."""
    text = _frame()[["kind", "age"]].to_csv(index=False)
    assert load(_text(tmp_path / "t.csv", b"\xef\xbb\xbf" + text.encode())).classes[0] == "bad"


def test_quoted_line_breaks_stay_in_their_cell(tmp_path):
    """A line break inside quotes is part of a level."""
    rows = '"Ulm,\nold",3,good\nBern,4,bad\n' * 30
    assert load(_text(tmp_path / "t.csv", "town,age,kind\n" + rows)).cardinalities == (3,)


# Columns one by one.


def test_scaling_is_robust_and_keeps_order():
    """The bulk has unit spread, outliers stay within 3 and in their order."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(50, 10, 10_000), [-1e9, 1e5, 1e300]])
    (scaled,) = NumberScale.fit(values).apply(values)
    assert np.quantile(scaled, [0.25, 0.5, 0.75]) == pytest.approx([-0.66, 0, 0.66], abs=0.03)
    assert np.abs(scaled).max() <= 3
    assert np.argsort(scaled).tolist() == np.argsort(values).tolist()


def test_a_column_that_is_nearly_always_zero_keeps_its_small_steps():
    """With equal quartiles and outliers in the thousands, 0, 1 and 2 stay well apart."""
    values = np.concatenate([np.zeros(850), np.ones(100), np.full(48, 2.0), [4000, -4000]])
    (scaled,) = NumberScale.fit(values).apply(np.array([0.0, 1.0, 2.0, 4000.0]))
    assert (np.diff(scaled) > 0.3).all()


@pytest.mark.parametrize("values", [[5.0, 5.0, 5.0], [np.nan] * 3, [5.0, np.nan, 5.0]])
def test_constant_and_empty_columns_are_zero(values):
    """No division by a spread of nothing."""
    scaled, *_ = NumberScale.fit(np.array(values)).apply(np.array(values))
    assert scaled.tolist() == [0, 0, 0]


def test_gaps_outside_the_pool_need_no_mark():
    """A column that is whole in the pool has no mark; a later gap is the median."""
    assert [list(c) for c in NumberScale.fit(np.arange(5.0)).apply(np.array([np.nan, 2.0]))] == [
        [0, 0]
    ]


def test_levels_are_those_of_the_pool():
    """A level outside the pool's rows is 0, as is a missing one."""
    column = _categories(["b", "a", None, "c", "b"])
    levels = LevelCodes.fit(column, np.array([0, 1, 2]))
    assert levels.codes(column).tolist() == [2, 1, 0, 0, 2]
    assert levels.cardinality == 3


def test_only_the_commonest_levels_have_codes():
    """A column of identifiers must not become thousands of inputs."""
    names = [f"id {i:04}" for i in range(1000)] + ["id 0900"] * 3
    column = _categories([*names])
    levels = LevelCodes.fit(column, np.arange(1003))
    assert levels.cardinality == 256
    assert "id 0900" in levels.levels
    assert levels.codes(column).max() == 255


# What is refused.

CSV = _frame().to_csv(index=False)
BAD_CSV = {
    "semicolons": (CSV.replace(",", ";"), "has ';' between its columns: separate them by commas"),
    "tabs": (CSV.replace(",", "\t"), "has '\\t' between its columns"),
    "doubled column": (CSV.replace("town", "age", 1), "two columns called 'age'"),
    "row numbers": (_frame().to_csv(), "has a column without a name, perhaps row numbers"),
    "empty": ("", "has no header"),
    "header only": ("age,town,kind\n", "has no rows"),
    "header without an end": ("age,town,kind", "has no rows"),
    "ragged": (CSV + "1,2\n", "cannot be read as CSV: a line has 2 columns, the first line has 3"),
    "UTF-16": (CSV.encode("utf-16"), "is not UTF-8 text"),
    "latin-1": (CSV.replace("Ulm", "Köln").encode("latin-1"), "is not UTF-8 text"),
    "one class": (CSV.replace("good", "bad"), "has one class only, 'bad'"),
    "no class in a row": (CSV.replace("good", "", 1), "1 row without a class in column 'kind'"),
    "decimal classes": (
        CSV.replace("good", "0.5").replace("bad", "1.5"),
        "has decimal numbers in column 'kind' (0.5): a class is a whole number or a name",
    ),
    "infinite": (
        CSV + "inf,Ulm,good\n",
        "has an infinite number in row 60, counted from 0, of column 'age'",
    ),
    "nothing to learn from": (
        "kind\n" + "good\nbad\n" * 20,
        "is no table: its first line has no comma, so it names no columns",
    ),
    "dates": (
        "day,kind\n" + "2024-01-02,good\n2024-01-03,bad\n" * 20,
        "has dates or times ('2024-01-02') in column 'day'",
    ),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_bad_csv_is_refused_with_its_reason(tmp_path, case):
    """One line names data.path, the file and what to do."""
    text, reason = BAD_CSV[case]
    config = _text(tmp_path / "bad.csv", text)
    message = _refusal(config)
    assert message.startswith(f"data.path: {config.path!r} ")
    assert reason in message


def test_a_missing_target_names_the_nearest_column(tmp_path):
    """A misspelt target is answered with the nearest column, an absent one with all."""
    config = _table(tmp_path / "t.csv", _frame(), target="kin")
    assert _refusal(config) == (
        "data.target: 'kin' needs a column 'kin' and there is none; the nearest is 'kind'"
    )
    assert "one of age, town, kind" in _refusal(config.model_copy(update={"target": None}))


def test_a_test_file_that_does_not_fit_is_refused(tmp_path):
    """A column that is missing, or text where there were numbers, is data.test_path's fault."""
    bad = {
        "lacks the column 'town' of the training data; it has age, kind": _frame()[["age", "kind"]],
        "has 'old' in row 0, counted from 0, of column 'age', which holds numbers": _frame(
            age=["old"] * ROWS
        ),
    }
    for reason, frame in bad.items():
        path = _table(tmp_path / "test.csv", frame).path
        message = _refusal(_table(tmp_path / "t.csv", _frame(), test_path=path))
        assert message.startswith(f"data.test_path: {path!r} {reason}")
    strange = _table(tmp_path / "test.csv", _frame(kind=np.resize(["good", "odd"], ROWS))).path
    message = _refusal(_table(tmp_path / "t.csv", _frame(), test_path=strange))
    assert "has no training sample of class 'odd'" in message


class _Strange(pa.ExtensionType):
    def __init__(self):
        super().__init__(pa.int64(), "tests.strange")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()


def _parquet(path: Path, **columns) -> DataConfig:
    pq.write_table(pa.table(columns | {"kind": np.resize(["a", "b"], 40)}), path)
    return DataConfig(dataset="table", path=str(path), target="kind")


def test_extension_types_are_refused(tmp_path):
    """Known to Arrow or not, a type with code behind it is never read."""
    storage = pa.array(range(40), pa.int64())
    unknown = pa.ExtensionArray.from_storage(_Strange(), storage)
    uuid = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)] * 40, pa.binary(16)))
    for i, column in enumerate((unknown, uuid)):
        message = _refusal(_parquet(tmp_path / f"{i}.parquet", odd=column))
        assert "has a column 'odd' of an extension type, which is never read" in message


ODD_COLUMNS = {
    "binary": pa.array([b"\x80\x04N."] * 40),  # a pickled None
    "list<element: int64>": pa.array([[1, 2]] * 40),
    "struct<a: int64>": pa.array([{"a": 1}] * 40),
}


@pytest.mark.parametrize("kind", ODD_COLUMNS)
def test_columns_that_no_network_takes_are_refused(tmp_path, kind):
    """Bytes (such as pickled objects) and nested values are named with their type."""
    message = _refusal(_parquet(tmp_path / "t.parquet", odd=ODD_COLUMNS[kind]))
    assert f"has a column 'odd' of type {kind}, which a network cannot read" in message
    assert "leave it out: data.drop: [odd]" in message


def test_broken_and_unknown_files_are_refused(tmp_path):
    """Cut Parquet, cut gzip, gzip in name only, another ending: each message names the fault."""
    whole = Path(str(_table(tmp_path / "w.parquet", _frame()).path)).read_bytes()
    packed = gzip.compress(CSV.encode())
    bad = {
        "cut.parquet": (whole[:-30], "cannot be read as Parquet"),
        "none.parquet": (b"", "cannot be read as Parquet"),
        "cut.csv.gz": (packed[:40], "cannot be read as CSV"),
        "plain.csv.gz": (CSV.encode(), "cannot be read as CSV"),
        "t.xlsx": (b"PK", "is of an unknown kind: it should end in .parquet, .csv or .csv.gz"),
    }
    for name, (content, reason) in bad.items():
        assert reason in _refusal(_text(tmp_path / name, content))


# Real data, where SWEEPER_DATA names their folder.


def _real(folder: Path, name: str, target: str, **fields) -> DataConfig:
    return DataConfig(dataset="table", path=str(folder / name), target=target, **fields)


def test_shuttle_keeps_its_parts_and_rare_classes(real_data):
    """Published test part, six classes' counts, and columns with outliers that are still seen."""
    folder = real_data / "shuttle"
    config = _real(
        folder,
        "train.parquet",
        "Class",
        test_path=str(folder / "test.parquet"),
        val={"fraction": 0.2},
    )
    dataset = load(config)
    counts = {split: dict(zip(dataset.classes, c, strict=True)) for split, c in
              dataset.facts["counts"].items()}  # fmt: skip
    assert counts["test"]["Rad.Flow"] == 11_478
    assert [counts[split]["Bpv.Close"] for split in SPLITS] == [5, 1, 4]
    assert sum(map(sum, dataset.facts["counts"].values())) == 58_000
    spread = dataset.x["train"].std(axis=0)
    assert ((spread > 0.5) & (spread < 1.5)).all()


def test_letter_has_26_classes_first_column(real_data):
    """20,000 rows, the class in the first column, 16 numbers."""
    dataset = load(_real(real_data / "letter", "letter.parquet", "letter"))
    assert "".join(dataset.classes) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert dataset.facts["shape"] == [16]
    assert np.sum(list(dataset.facts["counts"].values())) == 20_000


def test_credit_has_gaps_in_numbers_and_categories(real_data):
    """Nine numbers, three of them with gaps to mark; four categories, three with gaps."""
    dataset = load(_real(real_data / "credit", "credit.csv.gz", "Status"))
    assert dataset.classes == ("bad", "good")
    assert dataset.facts["shape"] == [12]
    assert dataset.cardinalities == (7, 6, 3, 5)
    marks = _together(dataset, "x")[:, 9:]
    assert marks.sum(axis=0).tolist() == [381, 47, 18]
    assert (_together(dataset, "codes") == 0).sum(axis=0).tolist() == [6, 1, 0, 2]


def test_lending_club_has_categorical_columns(real_data):
    """Five categorical columns with their levels, 5 % bad loans in each split."""
    dataset = load(_real(real_data / "lending_club", "lending_club.parquet", "Class"))
    assert dataset.facts["shape"] == [17]
    assert dataset.cardinalities == (3, 36, 51, 4, 13)
    for bad, good in dataset.facts["counts"].values():
        assert bad / (bad + good) == pytest.approx(0.052, abs=0.003)


def test_soybean_is_categories_only_with_gaps(real_data):
    """35 categorical columns, 2,337 gaps, 19 classes of which the smallest has 8 rows."""
    dataset = load(_real(real_data / "soybean", "soybean.csv.gz", "class"))
    assert dataset.x["train"].shape[1] == 0
    assert len(dataset.cardinalities) == 35
    assert "diaporthe-pod-&-stem-blight" in dataset.classes
    assert (_together(dataset, "codes") == 0).sum() == pytest.approx(2337, abs=10)
    herbicide = dataset.classes.index("herbicide-injury")
    assert [dataset.facts["counts"][split][herbicide] for split in SPLITS] == [5, 1, 2]
