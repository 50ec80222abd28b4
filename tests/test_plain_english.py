"""The rules of plain English that a program can check; CONTRIBUTING.md has all of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKED = ("sweeper", "trainers", "tests", "benchmarks", "docker", "docs")
SOURCES = sorted(path for part in CHECKED for path in (ROOT / part).rglob("*.py"))
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def beginning_with_of(source: str) -> Iterator[str]:
    """Docstrings whose first word is "Of", with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            words = text.split(maxsplit=1)
            if words and words[0] == "Of":
                yield f"{getattr(node, 'lineno', 1)}: {text.splitlines()[0]}"


@pytest.mark.parametrize(
    "path",
    SOURCES,
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_docstring_begins_with_of(path: Path) -> None:
    """A docstring begins with a verb or a noun phrase, which a reader understands at once."""
    assert list(beginning_with_of(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Of a module."""', ["1: Of a module."]),
        ('def f():\n    """Of two\n\n    lines."""', ["1: Of two"]),
        ('class A:\n    """Often right."""\n    def g(self):\n        """Returns it."""', []),
    ],
)
def test_the_search_for_such_docstrings_finds_them(source: str, found: list[str]) -> None:
    """A lint that finds nothing proves nothing."""
    assert list(beginning_with_of(source)) == found
