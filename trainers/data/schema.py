"""Decides which columns of a table are numbers or categories, and reads them as such.

The training file decides, once; every later file is read by that decision. Text (all of a CSV, and
the text columns of a Parquet file) is judged by its values:

- A number is written as in `12`, `-0.5`, `.5` or `1e-3`. `01` is not a number, because codes have
  leading zeros. Neither are `0x10`, `1_000`, `1,5`, `5%` and `$5`.
- A column whose values are all numbers or missing is numeric; in Parquet, text is a category.
- A column with more than half, but not all, of its values numbers is rejected: one odd value must
  not silently turn a measurement into categories. Here `1,5`, `5%` and `$5` count as numbers.
- Every other column is a category.

Missing in a column of numbers: the usual marks in any case, and those of `data.missing`.
Missing in a category: only an empty value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainers.data.columns import Kind, Text, kinds_of
from trainers.data.files import Refuse
from trainers.data_config import Token

USUAL = ("", "na", "n/a", "nan", "null", "none", "<na>", "#n/a", "?", "-")
NUMBER = r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
INFINITE = r"[+-]?(?i:inf|infinity)"
PADDED = r"[+-]?0[0-9]+(?:\.[0-9]*)?"
COMMA = r"[+-]?[0-9][0-9.]*,[0-9.,]*"
SIGNED = rf"[$€£]\s*{NUMBER}|{NUMBER}\s*[%$€£]"
TIME = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?"
DATE = r"(?:[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4})"
MOMENT = rf"{DATE}(?:[T ].*)?|{TIME}"
# With this many values, nearly as many distinct values mean an identifier.
FEW, NEARLY = 20, 0.9
_WORD = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True)
class Rule:
    """How a file's columns are read.

    Attributes:
        refuse: makes the errors.
        missing: marks of a missing number, in addition to the usual ones.
        typed: whether the file states its columns' types.
    """

    refuse: Refuse
    missing: Sequence[Token] = ()
    typed: bool = False


@dataclass(frozen=True, eq=False)
class Columns:
    """A file's features in its order: numbers (N,) float64, NaN where missing, and categories."""

    numbers: dict[str, np.ndarray]
    texts: dict[str, Text]

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The kind of each column, by name."""
        return kinds_of(self.numbers, self.texts)


def read(
    columns: Mapping[str, pa.ChunkedArray], kinds: Mapping[str, Kind | None], rule: Rule
) -> Columns:
    """Reads the columns that `kinds` names, each as its kind, or by its values if the kind is None.

    Raises:
        ConfigError: a column is missing or cannot be read as its kind.
    """
    _check_there(list(kinds), columns, rule.refuse)
    numbers, texts = {}, {}
    for name, kind in kinds.items():
        found = _read_one(columns[name], kind, name, rule)
        if isinstance(found, Text):
            texts[name] = found
        else:
            numbers[name] = found
    return Columns(numbers, texts)


def _check_there(
    names: Sequence[str], columns: Mapping[str, pa.ChunkedArray], refuse: Refuse
) -> None:
    lacking = [name for name in names if name not in columns]
    if lacking:
        some = ", ".join(map(repr, lacking[:10])) + (" ..." if len(lacking) > 10 else "")
        word = "column" if len(lacking) == 1 else f"{len(lacking)} columns"
        held = list(columns)
        shown = ", ".join(held[:20]) + (" ..." if len(held) > 20 else "")
        raise refuse(f"lacks the {word} {some} of the training data; it has {shown}")


def _read_one(
    values: pa.ChunkedArray, kind: Kind | None, name: str, rule: Rule
) -> np.ndarray | Text:
    if kind == "number":
        return _numbers(values, name, rule)
    if kind == "category":
        return _text(values, name, rule.refuse)
    if _is_number(values.type):
        found = _numbers(values, name, rule)
    elif is_text(values.type):
        found = _judged(values, name, rule)
    else:
        found = _text(values, name, rule.refuse)
    _check_no_identifier(found, name, rule.refuse)
    return found


def _judged(values: pa.ChunkedArray, name: str, rule: Rule) -> np.ndarray | Text:
    """Reads a column of text by its values."""
    parsed = _Parsed.of(values, rule.missing)
    present = int((~parsed.missing).sum())
    plain = int(parsed.plain.sum())
    if plain == present and present and not rule.typed:
        return _finite(parsed.numbers, name, rule.refuse)
    if plain < present < 2 * (plain + parsed.count(f"{COMMA}|{SIGNED}")):
        raise _odd(parsed, name, rule.refuse)
    if 2 * parsed.count(MOMENT) > present:
        row = parsed.first(MOMENT)
        raise rule.refuse(_no_dates(name, f"dates or times ({parsed.word(row)!r})"))
    return _text(values, name, rule.refuse)


@dataclass(frozen=True, eq=False)
class _Parsed:
    """Text (N,) without surrounding blanks, and which values are numbers or missing.

    Attributes:
        numbers: (N,) float64, NaN if not a number.
        plain: (N,) whether it is a number without leading zeros.
        missing: (N,) whether it is a mark of a missing number.
    """

    text: pa.Array
    numbers: np.ndarray
    plain: np.ndarray
    missing: np.ndarray

    @classmethod
    def of(cls, values: pa.ChunkedArray, tokens: Sequence[Token]) -> _Parsed:
        words = {*USUAL, *(str(token).strip().lower() for token in tokens)}
        whole = values.cast(pa.string()).combine_chunks().fill_null("")
        text = pc.call_function("utf8_trim_whitespace", [whole])
        lower = pc.call_function("utf8_lower", [text])
        usual = pc.SetLookupOptions(pa.array(sorted(words)))
        missing = _flags(pc.call_function("is_in", [lower], usual))
        is_plain, is_padded = (_matches(text, form) for form in (f"{NUMBER}|{INFINITE}", PADDED))
        known = [pa.array(is_plain | is_padded), text, pa.scalar(None, pa.string())]
        numbers = pc.call_function("if_else", known).cast(pa.float64())
        numbers = numbers.to_numpy(zero_copy_only=False)
        missing |= _stand_for_missing(numbers, tokens)
        return cls(text, np.where(missing, np.nan, numbers), is_plain & ~missing, missing)

    def count(self, form: str) -> int:
        """The number of values of a form."""
        return int((_matches(self.text, form) & ~self.missing).sum())

    def first(self, form: str) -> int:
        """The row of the first value of a form."""
        return int(np.argmax(_matches(self.text, form) & ~self.missing))

    def word(self, row: int) -> str:
        """The value in a row."""
        return self.text[row].as_py()


def _flags(found: pa.Array) -> np.ndarray:
    return found.to_numpy(zero_copy_only=False).astype(bool)


def _matches(text: pa.Array, form: str) -> np.ndarray:
    whole = pc.MatchSubstringOptions(f"^(?:{form})$")
    return _flags(pc.call_function("match_substring_regex", [text], whole))


def _stand_for_missing(numbers: np.ndarray, tokens: Sequence[Token]) -> np.ndarray:
    """Which of (N,) numbers equal a numeric mark of missing values."""
    found = [float(token) for token in tokens if re.fullmatch(NUMBER, str(token).strip())]
    return np.isin(numbers, found)


def _odd(parsed: _Parsed, name: str, refuse: Refuse) -> Exception:
    """The error of a column of mostly numbers, with the first value that is not a number."""
    row = int(np.argmax(~parsed.plain & ~parsed.missing))
    word, key = parsed.word(row), key_of(name)
    numbers, present = int(parsed.plain.sum()), int((~parsed.missing).sum())
    most = f", where {numbers:,} of {present:,} values are numbers" if 2 * numbers > present else ""
    keep = f"data.columns: {{{key}: category}} keeps the column as text"
    if re.fullmatch(PADDED, word):
        hint = f"zeros in front are those of codes: {keep}, {{{key}: number}} drops the zeros"
    elif re.fullmatch(COMMA, word):
        hint = f"that is a comma, no decimal point: write 1.5, not 1,5; {keep}"
    elif re.fullmatch(SIGNED, word):
        hint = f"write numbers without their unit; {keep}"
    else:
        hint = f"{missing_key(word)} makes it a missing value, {keep}"
    return refuse(
        f"has {word!r} in row {row}, counted from 0, of column {name!r}{most}: {hint}, "
        f"{{{key}: ignore}} leaves it out"
    )


def missing_key(word: str) -> str:
    """The spec's line that declares a word a missing value."""
    return f"data.missing: [{json.dumps(word, ensure_ascii=False)}]"


def key_of(name: str) -> str:
    """A column's name as a key of YAML."""
    return name if _WORD.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _no_dates(name: str, what: str) -> str:
    return (
        f"has {what} in column {name!r}, which a network cannot read: turn them into numbers, such "
        f"as days since a date, or leave the column out: data.drop: [{key_of(name)}]"
    )


def _check_no_identifier(found: np.ndarray | Text, name: str, refuse: Refuse) -> None:
    """Rejects a column that identifies rows and that `data.columns` does not name."""
    key = key_of(name)
    drop = f"leave it out with data.drop: [{key}], or keep it with data.columns"
    if isinstance(found, Text):
        present = int((found.codes >= 0).sum())
        if present >= FEW and len(found.levels) > NEARLY * present:
            reason = f"has {len(found.levels):,} different values in {present:,} rows of column "
            reason += f"{name!r}, as an identifier or free text has"
            raise refuse(f"{reason}: {drop}: {{{key}: category}}")
    elif len(found) >= FEW and _counts_rows(found):
        reason = f"has a column {name!r} that counts the rows from {found[0]:.0f} on"
        raise refuse(f"{reason}: {drop}: {{{key}: number}}")


def _counts_rows(numbers: np.ndarray) -> bool:
    first = numbers[0]
    return bool(first % 1 == 0) and np.array_equal(numbers, first + np.arange(len(numbers)))


def _numbers(values: pa.ChunkedArray, name: str, rule: Rule) -> np.ndarray:
    """Returns a column as numbers, (N,) float64, NaN where missing."""
    if _is_number(values.type) or pa.types.is_null(values.type):
        numbers = values.cast(pa.float64(), safe=False).to_numpy()
        gaps = _stand_for_missing(numbers, rule.missing)
        return _finite(np.where(gaps, np.nan, numbers), name, rule.refuse)
    values = plain(values)
    if not is_text(values.type):
        raise rule.refuse(f"has {values.type} in column {name!r}, which holds numbers")
    parsed = _Parsed.of(values, rule.missing)
    wrong = np.isnan(parsed.numbers) & ~parsed.missing
    if wrong.any():
        row = int(np.argmax(wrong))
        where = f"has {parsed.word(row)!r} in row {row}, counted from 0, of column {name!r}"
        reason = "which holds numbers: correct it, empty it if missing, or name it in data.missing"
        raise rule.refuse(f"{where}, {reason}")
    return _finite(parsed.numbers, name, rule.refuse)


def _finite(numbers: np.ndarray, name: str, refuse: Refuse) -> np.ndarray:
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        where = f"in row {row}, counted from 0, of column {name!r}"
        raise refuse(f"has an infinite number {where}: correct it, or empty it if missing")
    return numbers


def _text(values: pa.ChunkedArray, name: str, refuse: Refuse) -> Text:
    """Returns a column as categories; an empty text is a missing value."""
    values = plain(values)
    kind = values.type
    if pa.types.is_temporal(kind):
        raise refuse(_no_dates(name, f"values of type {kind}"))
    if not (is_text(kind) or pa.types.is_null(kind) or _is_number(kind)):
        reason = f"has a column {name!r} of type {kind}, which a network cannot read: turn it into "
        raise refuse(f"{reason}numbers or text, or leave it out: data.drop: [{key_of(name)}]")
    encoded = values.cast(pa.string()).combine_chunks().dictionary_encode()
    levels = encoded.dictionary.to_pylist()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    if "" in levels:
        empty = levels.index("")
        del levels[empty]
        codes = np.where(codes == empty, -1, codes - (codes > empty))
    return Text(codes, tuple(levels))


def plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns categories as their values, and booleans as Python and pandas write them to CSV."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_boolean(values.type):
        return pc.call_function("if_else", [values, pa.scalar("True"), pa.scalar("False")])
    return values


def is_text(kind: pa.DataType) -> bool:
    """Returns whether a column's type is text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
