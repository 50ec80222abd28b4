"""What must be equal on every node that takes part in a sweep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG

from sweeper.engine import nodes
from trainers import VERSION, identity


def test_a_node_is_equal_to_itself() -> None:
    """The same installation gives the same facts, each of them a short text."""
    found = nodes.facts()
    assert list(found) == ["hardware", "python", "torch", "ray", "trainer", "source"]
    assert found["trainer"] == VERSION
    assert all(found.values())
    assert nodes.differences(found, nodes.facts()) == []


@pytest.mark.parametrize(
    ("fact", "value", "sentence"),
    [
        ("trainer", "2", "trainer 2 instead of 3"),
        ("torch", "2.1", "torch 2.1 instead of 3"),
        ("source", "abc", "trainer source abc instead of 3"),
    ],
)
def test_each_difference_is_one_sentence(fact: str, value: str, sentence: str) -> None:
    """It names the fact, what the node has and what it should have."""
    here = dict.fromkeys(nodes.WORDS, "3")
    assert nodes.differences(here, {**here, fact: value}) == [sentence]


def test_a_fact_that_a_node_does_not_report_is_a_difference() -> None:
    """An older version that knows fewer facts must not pass."""
    here = dict.fromkeys(nodes.WORDS, "3")
    there = {fact: value for fact, value in here.items() if fact != "ray"}
    assert nodes.differences(here, there) == ["Ray nothing instead of 3"]


def test_the_hash_changes_with_content_and_with_names(tmp_path: Path) -> None:
    """What lies beside the source, such as compiled files, does not count."""
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a.py").write_text("one = 1\n")
    first = identity.source(tmp_path)
    (tmp_path / "part" / "a.pyc").write_text("compiled")
    assert identity.source(tmp_path) == first
    (tmp_path / "part" / "a.py").write_text("one = 2\n")
    changed = identity.source(tmp_path)
    assert changed != first
    (tmp_path / "part" / "a.py").rename(tmp_path / "a.py")
    assert identity.source(tmp_path) not in {first, changed}


def test_a_node_is_asked_without_loading_torch_or_ray() -> None:
    """The driver compares before anything heavy starts."""
    code = (
        "import sys\nfrom sweeper.engine import nodes\nnodes.facts()\n"
        "print({'torch', 'ray'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG, check=True
    )
    assert ran.stdout.strip() == "set()"
