"""Help is quick, complete, and shows how."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from command import sweeper
from patience import HANG

from sweeper import __version__
from sweeper.cli.app import app, run
from sweeper.cli.reference import markdown

COMMANDS = [
    "init",
    "launch",
    "plan",
    "status",
    "report",
    "verify",
    "archive",
    "restored",
    "export",
    "dashboard",
    "watch",
    "retry",
    "spaces",
    "schema",
    "doctor",
    "cache",
    "config",
    "predict",
    "best",
    "train",
    "diff",
    "import",
    "serve",
    "login",
    "submit",
    "queue",
    "show",
    "logs",
    "stop",
    "resume",
    "cancel",
    "extend",
    "priority",
    "clone",
    "link",
    "limits",
    "token",
]
HEAVY = ["torch", "ray", "pandas", "optuna", "sklearn", "scipy", "sqlalchemy", "plotly", "trainers"]


def test_the_commands_are_exactly_these() -> None:
    """A command that comes or goes is a change for the changelog, and for this list."""
    group = typer.main.get_command(app)
    assert sorted(group.commands) == sorted(COMMANDS)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("arguments", [["--help"], ["launch", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Asking how costs no import of torch, Ray, pandas or Optuna."""
    code = f"""
import sys
from sweeper.cli.app import run
code = run({arguments!r})
print(code, [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANG
    )
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One can copy a line and be running."""
    assert run([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: sweeper {command}" in text
    assert not re.search(r"\[\[| \. ", text)  # brackets that Typer has added, or Rich eaten


def test_the_version_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read it."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_no_color_leaves_plain_text(tmp_path: Path) -> None:
    """NO_COLOR is honoured: no escape sequence in the output."""
    done = sweeper("spaces", cwd=tmp_path, NO_COLOR="1", TERM="xterm-256color")
    assert done.returncode == 0
    assert "batch_size" in done.stdout
    assert "\x1b" not in done.stdout


def test_the_reference_of_the_command_line_is_fresh() -> None:
    """`make docs` writes docs/cli.md from the commands; nobody writes it by hand."""
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    assert page.read_text("utf-8") == markdown(), "make docs writes it again"
