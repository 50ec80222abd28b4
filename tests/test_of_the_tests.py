"""What holds for every test: none depends on the speed of the machine, and none hides another."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import HANG

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for path in (ROOT / "tests").rglob("*.py") if path.name not in ("patience.py", "acting.py")
)
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "time_ns", "monotonic_ns"}
MOST_UNCHECKED = 8  # files of tests whose types are not clean yet: lower it with the list
LIMITS = {"timeout", "deadline", "suppress_health_check"}


def offences(source: str) -> Iterator[str]:
    """Clocks that are read, and limits of a number of seconds or of Hypothesis."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            of = node.value if isinstance(node, ast.Attribute) else None
            if name in CLOCKS or (name == "time" and isinstance(of, ast.Name) and of.id == "time"):
                yield f"{node.lineno}: {name}"
        elif (
            isinstance(node, ast.keyword)
            and node.arg in LIMITS
            and (node.arg != "timeout" or isinstance(node.value, ast.Constant))
        ):
            yield f"{node.value.lineno}: {node.arg}={ast.unparse(node.value)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_reads_a_clock_or_sets_a_limit_of_its_own(path: Path) -> None:
    """`patience` has the one limit, which ends what hangs; conftest.py has Hypothesis's profile."""
    if path.name == "conftest.py":
        return
    assert list(offences(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("began = time.monotonic()", ["1: monotonic"]),
        ("from time import perf_counter\n\nbegan = perf_counter()", ["3: perf_counter"]),
        ("time.time()", ["1: time"]),
        ("run(timeout=5)", ["1: timeout=5"]),
        ("settings(deadline=None)", ["1: deadline=None"]),
        ("run(timeout=HANG)\ntime.sleep(1)\nframe.time", []),
    ],
)
def test_the_search_for_clocks_and_limits_finds_them(source: str, found: list[str]) -> None:
    """A lint that finds nothing proves nothing."""
    assert list(offences(source)) == found


CRASHING = """
import os
import pytest

@pytest.mark.parametrize("number", range(2))
def test_crashes(number):
    os.abort()

@pytest.mark.parametrize("number", range(5))
def test_passes(number):
    pass
"""


def test_a_crash_fails_its_own_test_and_the_rest_runs(tmp_path: Path) -> None:
    """Each test process that dies is replaced, and every test is reported."""
    (tmp_path / "test_crashing.py").write_text(CRASHING)
    options = ["-n", "1", "--dist", "worksteal", "-c", str(ROOT / "pyproject.toml")]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", "test_crashing.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert re.search(r"2 failed, 5 passed", ran.stdout), ran.stdout
    assert len(set(re.findall(r"crashed while running '(.*?)'", ran.stdout))) == 2


def test_each_line_of_the_list_of_slow_tests_names_one() -> None:
    """A test that is renamed or removed takes its line with it."""
    lines = (ROOT / "tests" / "slow.txt").read_text("utf-8").splitlines()
    listed = [line for line in lines if not line.startswith("#")]
    assert listed == sorted(set(listed))
    for line in listed:
        path, _, name = line.partition("::")
        source = (ROOT / path).read_text("utf-8")
        assert not name or re.search(rf"(?m)^ *(async )?def {name}\(", source), line


def test_types_are_checked_in_all_tests_but_those_that_are_listed() -> None:
    """The list names files that exist; it may only shrink."""
    settings = json.loads((ROOT / "tests" / "pyrightconfig.json").read_text("utf-8"))
    assert settings["include"] == ["."]
    assert settings["typeCheckingMode"] == "standard"
    listed = settings["exclude"]
    assert listed == sorted(set(listed))
    assert [path for path in listed if not (ROOT / "tests" / path).is_file()] == []
    assert len(listed) <= MOST_UNCHECKED
