"""docs/faults.md, docs/service.md: each fault has a row, and each test that a row names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "faults.md").read_text("utf-8")
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| (?!no\.|rule|-)", line)]
SERVICE = (ROOT / "docs" / "service.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT + SERVICE)))


@cache
def names_of(path: Path) -> set[str]:
    """The names of a file's tests."""
    nodes = ast.parse(path.read_text("utf-8")).body
    names = (node.name for node in nodes if isinstance(node, ast.FunctionDef))
    return {name for name in names if name.startswith("test_")}


@pytest.mark.parametrize(("file", "test"), NAMED, ids="::".join)
def test_a_test_that_the_table_names_exists(file: str, test: str) -> None:
    """A test that is renamed or removed takes its new name, or a reason, into the table."""
    assert test in names_of(ROOT / file)


def test_each_fault_has_one_row_and_a_test() -> None:
    """The numbers run from 1 to 52, and no row has words alone."""
    numbers = [int(found[1]) for row in ROWS if (found := re.match(r"\| (\d+) \|", row))]
    assert numbers == list(range(1, 53))
    assert [row for row in ROWS if "`tests/" not in row] == []


def test_each_test_with_a_number_is_in_the_table() -> None:
    """Who writes a test of a fault names it in docs/faults.md."""
    numbered = {
        (str(path.relative_to(ROOT)), name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in names_of(path)
        if re.match(r"test_\d", name)
    }
    assert numbered - set(NAMED) == set()
