"""Tests that docs/service.md names are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text("utf-8")


def test_every_test_that_the_page_names_is_there() -> None:
    """A fault and a goal point to a test; a renamed test is found here."""
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE))
    assert len(named) > 40
    texts = {path: (ROOT / path).read_text("utf-8") for path, _ in named}
    gone = [one for one in named if f"def {one[1]}(" not in texts[one[0]]]
    assert gone == []


def test_every_goal_has_an_answer() -> None:
    """Twenty-four rows, each yes, partly or no; a yes names a test."""
    goals = PAGE.partition("## What was aimed at")[2]
    rows = re.findall(r"^\| (\d+) \|[^|]+\| (\w+) \| (.+) \|$", goals, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 25))
    assert {answer for _, answer, _ in rows} <= {"yes", "partly", "no"}
    assert all("::" in test for _, answer, test in rows if answer == "yes")
