"""What a table's columns are is decided by the training file, and every further file obeys."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainers.config import ConfigError
from trainers.data import SPLITS, load
from trainers.data.dataset import Dataset
from trainers.data.schema import Rule, read
from trainers.data.unseen import Inputs, Samples
from trainers.data.unseen import read as read_samples
from trainers.data_config import DataConfig
from trainers.notes import notes

ROWS = 400


def write(path: Path, columns: Mapping[str, list[str]]) -> Path:
    """A CSV with exactly these texts, beside a column of numbers and the class."""
    rows = len(next(iter(columns.values())))
    measured = np.random.default_rng(5).normal(size=rows).round(3)
    table = {**columns, "x": measured.tolist()}
    table.setdefault("y", ["a", "b"] * (rows // 2) + ["a"] * (rows % 2))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
    return path


def config(path: Path, **fields: object) -> DataConfig:
    return DataConfig.model_validate(
        {"dataset": "table", "path": str(path), "target": "y", **fields}
    )


def refusal(path: Path, **fields: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(config(path, **fields))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ages(count: int = ROWS) -> list[str]:
    return [f"{age:.2f}" for age in np.random.default_rng(0).normal(50, 9, count)]


def with_odd(word: str, row: int = 17) -> list[str]:
    found = ages()
    found[row] = word
    return found


def kinds(dataset: Dataset) -> dict[str, str]:
    """Each column's kind, as the facts say."""
    columns = dataset.facts["columns"]
    return dict.fromkeys(columns["numbers"], "number") | dict.fromkeys(
        columns["categories"], "category"
    )


def levels(dataset: Dataset, name: str) -> tuple[str, ...]:
    assert dataset.encoder is not None
    return dataset.encoder.levels[name].levels


# Column types belong to the training data.


@pytest.mark.parametrize(
    ("common", "rare"), [(["01", "02", "03"], "A9"), (["True", "False", "False"], "unknown")]
)
def test_a_further_file_is_read_with_the_types_of_training(
    tmp_path: Path, common: list[str], rare: str
) -> None:
    """Without the rare level the values look like numbers or booleans; they stay categories."""
    words = [rare] * 30 + common * 190
    whole = write(tmp_path / "t.csv", {"code": words})
    part = write(tmp_path / "u.csv", {"code": words[30:]})
    dataset = load(config(whole, test_path=str(part)))
    assert levels(dataset, "code") == tuple(sorted({*common, rare}))
    assert dataset.codes is not None
    expected = [levels(dataset, "code").index(word) + 1 for word in words[30:]]
    assert dataset.codes["test"][:, 0].tolist() == expected
    samples = read_samples(part, Inputs.of(dataset, "y"), dataset.classes)
    assert samples.codes is not None
    assert samples.codes[:, 0].tolist() == expected
    assert samples.strange == {}


def test_a_column_of_numbers_stays_numbers(tmp_path: Path) -> None:
    """`07` in a later file is 7, and a column of gaps is missing, whatever it looks like."""
    whole = write(tmp_path / "t.csv", {"n": [str(at % 7) for at in range(40)]})
    part = write(tmp_path / "u.csv", {"n": ["03", "", "NA", "3"]})
    dataset = load(config(whole, test_path=str(part)))
    x = dataset.x["test"]
    assert (x[0, 0], x[1, 0], x[2, 0]) == (x[3, 0], 0.0, 0.0)


def test_parquet_after_csv_is_read_by_the_same_schema(tmp_path: Path) -> None:
    """Whole numbers, decimals with gaps and booleans match the text that a CSV had for them."""
    words = {"code": ["1", "2", "x", "y"] * 15, "flag": ["True", "False", ""] * 20}
    dataset = load(config(write(tmp_path / "t.csv", words)))
    typed = pd.DataFrame({"code": [1.0, 2.0, None], "flag": [True, False, None], "x": [0, 0, 0]})
    typed["flag"] = typed["flag"].astype("boolean")
    typed.to_parquet(tmp_path / "u.parquet", index=False)
    samples = read_samples(tmp_path / "u.parquet", Inputs.of(dataset, "y"), dataset.classes)
    assert samples.codes is not None
    assert samples.codes.tolist() == [[1, 2], [2, 1], [0, 0]]


def test_the_schema_lies_with_the_facts_and_the_model(tmp_path: Path) -> None:
    """Names, kinds and tokens in the facts; the levels too in what a model keeps; all JSON."""
    path = write(tmp_path / "t.csv", {"age": with_odd("-9"), "town": ["Ulm", "Bern"] * 200})
    dataset = load(config(path, missing=[-9, "k.A."]))
    expected = {"numbers": ["age", "x"], "categories": ["town"], "missing": [-9, "k.A."]}
    assert dataset.facts["columns"] == {**expected, "cut": {}, "unseen": {}}
    assert json.loads(json.dumps(dataset.facts)) == dataset.facts
    inputs = Inputs.of(dataset, "y")
    again = Inputs.of_json(json.loads(json.dumps(inputs.as_json())))
    assert again.encoder == inputs.encoder
    assert again.encoder is not None
    assert again.encoder.levels["town"].levels == ("Bern", "Ulm")
    new = write(tmp_path / "u.csv", {"age": ["k.A.", "-9", "50"], "town": ["Ulm"] * 3})
    samples = read_samples(new, again, dataset.classes)
    assert (samples.x[:2, 0] == 0).all()
    assert samples.x[2, 0] != 0


def test_levels_that_training_had_not_are_counted(tmp_path: Path) -> None:
    """A whole column in another notation is seen in the count."""
    dataset = load(config(write(tmp_path / "t.csv", {"flag": ["True", "False"] * 20})))
    new = write(tmp_path / "u.csv", {"flag": ["true", "false", "", "True"]})
    samples = read_samples(new, Inputs.of(dataset, "y"), dataset.classes)
    assert samples.strange == {"flag": 2}


def test_levels_that_no_code_stands_for_are_in_the_facts(tmp_path: Path) -> None:
    """Names categories with more levels than codes, or that the test file writes otherwise."""
    words = {"id": [f"u{at % 300:03}" for at in range(900)], "flag": ["True", "False"] * 450}
    other = {"id": ["u001"] * 40, "flag": ["true", "false", "", "True"] * 10}
    test = write(tmp_path / "u.csv", other)
    dataset = load(config(write(tmp_path / "t.csv", words), test_path=str(test)))
    assert dataset.facts["columns"]["cut"] == {"id": 300}
    assert dataset.facts["columns"]["unseen"] == {}
    other["flag"][2::4] = ["true"] * 10
    dataset = load(config(tmp_path / "t.csv", test_path=str(write(test, other))))
    assert dataset.facts["columns"]["unseen"] == {"flag": 30}
    told = " ".join(notes(dataset.facts))
    assert "only the commonest 255 are told apart: 'id' (300). data.drop leaves" in told
    assert "so that it counts as missing: 'flag' (30). Are they written alike" in told


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_class_names_keep_their_zeros(tmp_path: Path, suffix: str) -> None:
    """`001` and `01` are two classes, and `NA` is one; whole numbers sort by size."""
    for words, expected in {
        ("001", "01", "2"): ("001", "01", "2"),
        ("NA", "EU", "AS"): ("AS", "EU", "NA"),
        ("10", "9", "-1"): ("-1", "9", "10"),
        ("None", "nan", "?"): ("?", "None", "nan"),
    }.items():
        path = write(tmp_path / "t.csv", {"y": list(words) * 20})
        if suffix == "parquet":
            path = tmp_path / "t.parquet"
            pd.DataFrame({"x": range(60), "y": list(words) * 20}).iloc[::-1].to_parquet(path)
        assert load(config(path)).classes == expected


def test_classes_of_numbers_and_text_files_agree(tmp_path: Path) -> None:
    """Classes that are numbers in Parquet are those of a CSV with the same digits."""
    path = tmp_path / "t.parquet"
    pd.DataFrame({"x": range(60, 0, -1), "y": [0, 1, 2] * 20}).to_parquet(path)
    other = write(tmp_path / "u.csv", {"y": ["2", "0", "1"]})
    assert load(config(path, test_path=str(other))).y["test"].tolist() == [2, 0, 1]


# One odd value must not change a column's kind in silence.

USUAL = ["", "NA", "NaN", "nan", "null", "NULL", "None", "<NA>", "#N/A", "n/a", "?", "-", " - "]


@pytest.mark.parametrize("word", USUAL)
def test_usual_tokens_are_missing_numbers(tmp_path: Path, word: str) -> None:
    """One of them among 400 numbers is the median, and marked."""
    dataset = load(config(write(tmp_path / "t.csv", {"age": with_odd(word)})))
    assert kinds(dataset) == {"age": "number", "x": "number"}
    marks = np.concatenate([dataset.x[split] for split in SPLITS])
    assert dataset.encoder is not None
    if dataset.encoder.scales["age"].marks_missing:
        assert marks[:, 2].sum() == 1
    assert (marks[:, 0] == 0).sum() >= 1


@pytest.mark.parametrize("word", USUAL[1:])
def test_only_an_empty_field_is_missing_in_text(tmp_path: Path, word: str) -> None:
    """`NA` may be a country, `-` a grade: they are levels, as they are written."""
    dataset = load(config(write(tmp_path / "t.csv", {"code": [word, "B", "", "C"] * 10})))
    assert levels(dataset, "code") == tuple(sorted([word, "B", "C"]))


ODD = {
    "N.A.": '399 of 400 values are numbers: data.missing: ["N.A."] makes it a missing value, '
    "data.columns: {age: category} keeps the column as text, {age: ignore} leaves it out",
    "1,5": "that is a comma, no decimal point: write 1.5, not 1,5; data.columns: {age: category}",
    "1,234.5": "that is a comma, no decimal point",
    "07": "zeros in front are those of codes: data.columns: {age: category} keeps the column as "
    "text, {age: number} drops the zeros",
    "5%": "write numbers without their unit",
    "$5": "write numbers without their unit",
    "1_000": 'data.missing: ["1_000"] makes it a missing value',
    "0x10": "data.columns: {age: category}",
    "12 kg": "data.columns: {age: category}",
    ".": 'data.missing: ["."]',
    "\u22125": "data.columns: {age: category}",  # a minus sign that is no hyphen
}


@pytest.mark.parametrize("word", ODD)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_one_odd_value_among_numbers_is_refused(tmp_path: Path, word: str, suffix: str) -> None:
    """Its column, row and value are named, and the keys that decide."""
    path = write(tmp_path / "t.csv", {"age": with_odd(word)})
    if suffix == "parquet":
        path = tmp_path / "t.parquet"
        pd.DataFrame({"age": with_odd(word), "y": ["a", "b"] * 200}).to_parquet(path)
    message = refusal(path)
    where = f"data.path: {str(path)!r} has {word!r} in row 17, counted from 0, of column 'age'"
    assert message.startswith(where)
    assert ODD[word] in message


@pytest.mark.parametrize("word", ["1e5", "1E-3", "+7", "-0", ".5", "5.", " 50 ", "-1.5e+2"])
def test_numbers_are_read_as_python_reads_them(tmp_path: Path, word: str) -> None:
    """Exponents, signs and blanks; the order of the column is that of the numbers."""
    words = with_odd(word)
    dataset = load(config(write(tmp_path / "t.csv", {"age": words}), test_path=None))
    found = read({"age": pa.chunked_array([words])}, {"age": None}, _rule()).numbers["age"]
    assert found.tolist() == [float(one) for one in words]
    assert kinds(dataset)["age"] == "number"


def _is_a_number(word: str) -> bool:
    """By Python's own reading, but for underscores and zeros in front."""
    try:
        float(word)
    except ValueError:
        return False
    digits = word.lstrip("+-")
    return "_" not in word and not (digits[:1] == "0" and digits[1:2].isdigit())


def test_every_short_word_is_read_as_python_reads_it() -> None:
    """All of up to four of these signs: numbers have Python's value, all else is text."""
    words = ["".join(signs) for count in range(1, 5) for signs in product("015.+-e_", repeat=count)]
    columns = {word: pa.chunked_array([[word, word]]) for word in words}
    numbers = read(columns, dict.fromkeys(words), _rule()).numbers
    found = {word: float(values[0]) for word, values in numbers.items()}
    assert found == {word: float(word) for word in words if _is_a_number(word)}


@pytest.mark.parametrize("word", ["inf", "-Inf", "Infinity", "1e400"])
def test_infinite_numbers_are_refused(tmp_path: Path, word: str) -> None:
    """A network cannot read them, and their meaning is unknown."""
    message = refusal(write(tmp_path / "t.csv", {"age": with_odd(word)}))
    assert "has an infinite number in row 17, counted from 0, of column 'age'" in message


def test_a_column_of_decimal_commas_is_refused(tmp_path: Path) -> None:
    """None of them is a number here, and the result would be 250 categories."""
    words = [age.replace(".", ",") for age in ages()]
    message = refusal(write(tmp_path / "t.csv", {"age": words}))
    assert f"has {words[0]!r} in row 0, counted from 0, of column 'age': that is a comma" in message


@pytest.mark.parametrize("numbers", [0.4, 0.5, 0.51, 0.99, 1.0])
def test_more_than_half_is_the_rule(tmp_path: Path, numbers: float) -> None:
    """Up to half the column is a category, above it is refused, and all of them are numbers."""
    count = round(numbers * 200)
    words = [str(at % 9) for at in range(count)] + ["low"] * (200 - count)
    path = write(tmp_path / "t.csv", {"size": words})
    if 0.5 < numbers < 1:
        assert "has 'low' in row" in refusal(path)
    else:
        assert kinds(load(config(path)))["size"] == ("number" if numbers == 1 else "category")


def test_columns_says_what_a_column_is(tmp_path: Path) -> None:
    """As a category it keeps its text, as a number its zeros go, ignored it is gone."""
    path = write(tmp_path / "t.csv", {"code": ["01", "1", "10", "2"] * 20})
    assert "has '01' in row 0" in refusal(path)
    kept = load(config(path, columns={"code": "category"}))
    assert levels(kept, "code") == ("01", "1", "10", "2")
    number = load(config(path, columns={"code": "number"}))
    assert kinds(number) == {"code": "number", "x": "number"}
    assert len(np.unique(number.x["train"][:, 0])) == 3
    assert kinds(load(config(path, columns={"code": "ignore"}))) == {"x": "number"}


def test_a_column_said_to_be_numbers_holds_nothing_else(tmp_path: Path) -> None:
    """The value is refused by its row; `missing` lets it pass."""
    path = write(tmp_path / "t.csv", {"age": ["low", "mid", "", "7", "-"] * 8})
    message = refusal(path, columns={"age": "number"})
    assert "has 'low' in row 0, counted from 0, of column 'age', which holds numbers" in message
    dataset = load(config(path, columns={"age": "number"}, missing=["LOW", "mid"]))
    assert kinds(dataset)["age"] == "number"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_missing_number_is_one_however_it_is_written(tmp_path: Path, suffix: str) -> None:
    """-999 in `missing` stands for -999, -999.0 and -9.99e2, in typed columns as well."""
    words = ages()
    words[3:6] = ["-999", "-999.0", "-9.99e2"]
    path = write(tmp_path / "t.csv", {"age": words})
    if suffix == "parquet":
        path = tmp_path / "t.parquet"
        pd.DataFrame({"age": [float(w) for w in words], "y": ["a", "b"] * 200}).to_parquet(path)
    dataset = load(config(path, missing=[-999]))
    assert dataset.encoder is not None
    every = np.concatenate([dataset.x[split] for split in SPLITS])
    assert dataset.encoder.scales["age"].marks_missing
    assert every[:, -1].sum() == 3


def test_text_in_parquet_is_what_its_author_said(tmp_path: Path) -> None:
    """Digits stored as text or as categories are categories; numbers are numbers."""
    words = ["1", "2", "3", "nan"] * 10
    path = tmp_path / "t.parquet"
    table = {
        "text": words, "dictionary": pa.array(words).dictionary_encode(),
        "number": [1, 2, 3, 4] * 10, "y": ["a", "b"] * 20,
    }  # fmt: skip
    pq.write_table(pa.table(table), path)
    dataset = load(config(path))
    assert kinds(dataset) == {"number": "number", "text": "category", "dictionary": "category"}
    assert levels(dataset, "text") == ("1", "2", "3", "nan")
    assert kinds(load(config(path, columns={"text": "number"})))["text"] == "number"


@pytest.mark.parametrize("names", [("a", "a "), ("a", "A"), ("new  york", "New York")])
def test_classes_that_differ_by_blanks_or_case_are_refused(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    """The message has both names; a typing error must not make a class."""
    message = refusal(write(tmp_path / "t.csv", {"y": [*names, "b"] * 20}))
    one, two = sorted(names)
    assert f"has the classes {one!r} and {two!r}, equal but for blanks or case" in message


# Columns that are not features.


def test_dropped_columns_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    """`drop`, `features` and a file without the column give the same data."""
    columns = {"id": [f"u{at:04}" for at in range(60)], "town": ["Ulm", "Bern", "Graz"] * 20}
    path = write(tmp_path / "t.csv", columns)
    bare = write(tmp_path / "u.csv", {"town": columns["town"]})
    prints = {
        load(config(path, drop=["id"])).fingerprint,
        load(config(path, features=["x", "town"])).fingerprint,
        load(config(path, columns={"id": "ignore"})).fingerprint,
        load(config(bare)).fingerprint,
    }
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"drop": ["idd"]}, "data.drop: 'idd' is no column of data.path; the nearest is 'id'"),
        ({"features": ["town", "age"]}, "data.features: 'age' is no column of data.path; the"),
        ({"columns": {"twn": "ignore"}}, "data.columns: 'twn' is no column of data.path; the"),
        ({"drop": ["y"]}, "data.drop: 'y' is data.target, the class, not a feature"),
        ({"features": ["y"]}, "data.features: 'y' is data.target"),
        ({"drop": ["id"], "features": ["x"]}, "cannot be combined with data.drop: use one of them"),
        ({"drop": ["id", "town", "x"]}, "has no columns to learn from beside 'y'"),
    ],
)
def test_names_that_are_no_features_are_refused(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    """With the nearest column, or why it is none."""
    path = write(tmp_path / "t.csv", {"id": ["a", "b"] * 20, "town": ["Ulm", "Bern"] * 20})
    assert message in refusal(path, **fields)


def test_an_identifier_is_refused_unless_it_is_kept_on_purpose(tmp_path: Path) -> None:
    """Nearly as many values as rows: no network learns from it; `columns` keeps it."""
    words = [f"u{at:04}" for at in range(95)] + ["u0001"] * 5
    path = write(tmp_path / "t.csv", {"id": words})
    assert (
        "has 95 different values in 100 rows of column 'id', as an identifier or free text has: "
        "leave it out with data.drop: [id], or keep it with data.columns: {id: category}"
    ) in refusal(path)
    assert kinds(load(config(path, columns={"id": "category"})))["id"] == "category"
    assert kinds(load(config(path, drop=["id"]))) == {"x": "number"}
    typed = tmp_path / "t.parquet"
    frame = pd.DataFrame({"id": pd.Categorical(words), "y": ["a", "b"] * 50})
    frame.to_parquet(typed, index=False)
    assert "has 95 different values in 100 rows of column 'id'" in refusal(typed)


def test_a_column_that_counts_the_rows_is_refused(tmp_path: Path) -> None:
    """In a file sorted by class it gives the answer away; other unique numbers are measurements."""
    path = write(tmp_path / "t.csv", {"row no": [str(at) for at in range(1, 61)]})
    assert (
        "has a column 'row no' that counts the rows from 1 on: leave it out with data.drop: "
        '["row no"], or keep it with data.columns: {"row no": number}'
    ) in refusal(path)
    assert kinds(load(config(path, columns={"row no": "number"})))["row no"] == "number"
    path = write(tmp_path / "u.csv", {"n": [str(3 * at) for at in range(60)]})
    assert kinds(load(config(path)))["n"] == "number"


@pytest.mark.parametrize(
    "word",
    ["2024-01-02", "2024/1/2", "02.01.2024", "1/2/24", "2024-01-02T10:00:00Z",
     "2024-01-02 10:00", "10:30", "9:05:59.5"],
)  # fmt: skip
def test_dates_offer_drop(tmp_path: Path, word: str) -> None:
    """A few of them are no categories; the message says how to leave them out."""
    path = write(tmp_path / "t.csv", {"day": [word, word, ""] * 20})
    message = refusal(path)
    assert f"has dates or times ({word!r}) in column 'day', which a network cannot read" in message
    assert "data.drop: [day]" in message
    assert kinds(load(config(path, drop=["day"]))) == {"x": "number"}
    assert kinds(load(config(path, columns={"day": "category"})))["day"] == "category"


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ms"), pa.date32(), pa.duration("s"), pa.time32("ms")], ids=str
)
def test_typed_dates_offer_drop(tmp_path: Path, kind: pa.DataType) -> None:
    """Parquet's times are named with their type."""
    path = tmp_path / "t.parquet"
    days = pa.array([1] * 40, kind)
    pq.write_table(pa.table({"day": days, "x": [0.5] * 40, "y": ["a", "b"] * 20}), path)
    message = refusal(path)
    assert f"has values of type {kind} in column 'day', which a network cannot read" in message
    assert "data.drop: [day]" in message


def test_keys_of_tables_are_refused_elsewhere() -> None:
    """Digits have no columns to drop."""
    with pytest.raises(ConfigError, match="is not used by dataset 'digits'"):
        load(DataConfig(drop=("a",)))


# Reading takes time in proportion to the columns.


class Counted(Mapping[str, pa.ChunkedArray]):
    """Columns that count how often they are looked at; Arrow's own look-ups cannot be counted."""

    def __init__(self, columns: dict[str, pa.ChunkedArray]) -> None:
        self.columns, self.steps = columns, 0

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        self.steps += 1
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        for name in self.columns:
            self.steps += 1
            yield name

    def __len__(self) -> int:
        return len(self.columns)


def _rule() -> Rule:
    return Rule(lambda reason: ConfigError("data", "f.csv", reason))


def test_reading_takes_steps_in_proportion_to_the_columns() -> None:
    """Ten times the columns are ten times the look-ups, by what they say and by a schema."""
    steps = []
    for count in (30, 300):
        column = pa.chunked_array([["1.5", "2", ""]])
        columns = Counted({f"g{at}": column for at in range(count)})
        found = read(columns, dict.fromkeys(columns.columns), _rule())
        read(columns, found.kinds, _rule())
        steps.append(columns.steps)
    assert steps[1] <= 10 * steps[0]


def test_a_wide_table_is_read_whole(tmp_path: Path) -> None:
    """2,000 columns in training and in a further file, each where it belongs."""
    values = np.random.default_rng(1).normal(size=(6, 2000)).round(4)
    path = tmp_path / "t.csv"
    frame = pd.DataFrame(values, columns=[f"g{at}" for at in range(2000)])
    frame.assign(y=["a", "b"] * 3).to_csv(path, index=False)
    dataset = load(config(path, test_path=str(path)))
    samples: Samples = read_samples(path, Inputs.of(dataset, "y"), dataset.classes)
    assert np.array_equal(samples.x, dataset.x["test"])
    order = np.argsort(values, axis=0)
    assert np.array_equal(np.argsort(samples.x, axis=0), order)


# Against other readers.

SETS = {
    "credit/credit.csv.gz": ("Status", {"Home", "Marital", "Records", "Job"}),
    "soybean/soybean.csv.gz": ("class", None),
    "lending_club/lending_club.parquet": (
        "Class", {"term", "sub_grade", "addr_state", "verification_status", "emp_length"}
    ),
    "letter/letter.parquet": ("letter", set[str]()),
    "shuttle/train.parquet": ("Class", set[str]()),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_real_tables_are_read_as_pandas_reads_them(real_data: Path, name: str) -> None:
    """The same classes, kinds, levels, gaps and numbers as an independent reading."""
    target, categories = SETS[name]
    path = real_data / name
    if name.endswith(".parquet"):
        frame = pd.read_parquet(path)
    else:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    dataset = load(DataConfig(dataset="table", path=str(path), target=target))
    every = {split: dict(zip(dataset.classes, dataset.facts["counts"][split], strict=True))
             for split in SPLITS}  # fmt: skip
    counted = {c: sum(every[split][c] for split in SPLITS) for c in dataset.classes}
    assert counted == {str(c): n for c, n in frame[target].value_counts().items()}
    features = set(frame.columns) - {target}
    categories = features if categories is None else categories
    found = {c for c, kind in kinds(dataset).items() if kind == "category"}
    assert (found, set(kinds(dataset))) == (categories, features)
    assert dataset.encoder is not None
    assert dataset.codes is not None
    codes = np.concatenate([dataset.codes[split] for split in SPLITS])
    for at, column in enumerate(dataset.encoder.levels):
        words = [str(word) for word in frame[column]]
        known = [word for word in words if word in set(levels(dataset, column))]
        assert (codes[:, at] > 0).sum() == len(known)
        assert {word for word in words if word} >= set(levels(dataset, column))
    columns = list(dataset.encoder.scales)
    x = np.concatenate([dataset.x[split] for split in SPLITS])
    for at, column in enumerate(columns):
        numbers = pd.to_numeric(frame[column])
        present = numbers.dropna()
        scale = dataset.encoder.scales[column]
        z = (numbers.fillna(scale.median) - scale.median) / scale.spread
        expected = np.sort((z / np.sqrt(1 + (z / 3) ** 2)).to_numpy(dtype=np.float32))
        assert np.allclose(np.sort(x[:, at]), expected, rtol=1e-5, atol=1e-6)
        assert present.min() <= scale.median <= present.max()
