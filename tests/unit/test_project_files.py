"""The files by which others work on the project: workflows, hooks, templates, citation, bounds."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sweeper import __version__

ROOT = Path(__file__).resolve().parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in yaml(path)["jobs"].values():
        yield from job["steps"]


def pythons() -> set[str]:
    """The Python versions that pyproject.toml names."""
    found = (re.search(r":: (3\.\d+)$", line) for line in PROJECT["classifiers"])
    return {match[1] for match in found if match}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_make_and_nothing_else(path: Path) -> None:
    """CI runs what a contributor can run, and each target exists."""
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    for command in commands:
        found = re.match(r"make ([a-z]+)", command)
        assert found, command
        assert re.search(rf"(?m)^{found[1]}:.*##", MAKEFILE), command


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_can_only_read_and_always_ends(path: Path) -> None:
    """Jobs get no right to write, no token in the checkout, and a limit of minutes."""
    workflow = yaml(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 60
        [checkout] = [one for one in job["steps"] if "checkout" in one.get("uses", "")]
        assert checkout["with"]["persist-credentials"] is False


def test_ci_tests_each_python_and_the_ends_of_the_bounds() -> None:
    """Pinned versions on every Python, the lowest ones on the oldest, the newest on the newest."""
    matrix = yaml(GITHUB / "workflows" / "test.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["constraints"] == ["constraints.txt"]
    assert set(matrix["python"]) == pythons()
    oldest, newest = matrix["python"][0], matrix["python"][-1]
    assert PROJECT["requires-python"] == f">={oldest}"
    assert matrix["include"] == [
        {"python": oldest, "constraints": "constraints-lowest.txt"},
        {"python": newest, "constraints": "/dev/null"},
    ]


def test_the_lowest_constraints_are_the_bounds_of_the_project() -> None:
    """`make docs` writes them; CI installs them."""
    made = subprocess.run([sys.executable, ".ci/lowest"], cwd=ROOT, capture_output=True, check=True)
    assert made.stdout.decode() == (ROOT / "constraints-lowest.txt").read_text("utf-8")


def test_each_hook_runs_a_command_that_is_there() -> None:
    """Hooks use the versions that `make check` uses."""
    [repository] = yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    checked = "\n".join(re.findall(r"\$\(BIN\)/\S+", MAKEFILE))
    for hook in repository["hooks"]:
        program = hook["entry"].split()[0]
        known = program.replace(".venv/bin", "$(BIN)") in checked
        assert known or (ROOT / program).is_file(), program


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("Read settings from files\n", ""),
        ("Read settings from files\n\nSo that a project has its own.\n# a comment\n", ""),
        ("é" * 72 + "\n", ""),
        ("x" * 73 + "\n", "the subject has 73 characters; 72 are allowed"),
        ("Read settings.\n", "the subject ends with a full stop; leave it out"),
        ("Read\nsettings\n", "the second line is not empty"),
        ("# only a comment\n", "the first line is empty"),
    ],
)
def test_a_commit_subject_is_one_short_line(message: str, refusal: str, tmp_path: Path) -> None:
    """The hook that checks a message before it is used; the limit counts characters, not bytes."""
    file = tmp_path / "message"
    file.write_text(message, "utf-8")
    ran = subprocess.run([ROOT / ".ci" / "subject", file], capture_output=True, text=True)
    assert (ran.returncode == 0) == (refusal == "")
    assert refusal in ran.stderr


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_the_keys_that_the_site_needs(path: Path) -> None:
    """Each field has its own id and a label; the form for faults asks for `sweeper doctor`."""
    form = yaml(path)
    if path.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert path.stem != "bug" or "sweeper doctor" in str(fields)


def test_the_citation_names_this_version_and_licence() -> None:
    """What a paper cites is what is installed."""
    citation = yaml(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"] == __version__
    assert citation["license"] == PROJECT["license"]
    assert all(citation[key] for key in ("message", "title", "authors", "abstract"))
