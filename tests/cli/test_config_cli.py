"""`sweeper config`, and the files and variables that settings are read from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sweeper.cli import settings
from sweeper.cli.app import run
from sweeper.errors import InputError

SECRET = "hunter2" * 2
URL = f"postgresql://me:{SECRET}@db.example/x"
VARIABLES = ["NO_COLOR", "FORCE_COLOR", *(one.variable for one in settings.SETTINGS)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder to work in, without settings; the user's folder is `user` beside it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings, "user_file", lambda: tmp_path / "user" / "config.toml")
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def user(here: Path, text: str) -> Path:
    path = here.parent / "user" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    """The settings that `sweeper config` shows, by name."""
    assert run(["config", "--json", *arguments]) == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["settings"]}


def test_a_flag_comes_before_the_environment_and_that_before_the_files(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source is added in turn, from the weakest to the strongest, and wins."""

    def storage(*arguments: str) -> tuple[str, str, str]:
        one = shown(capsys, *arguments)["storage"]
        return one["value"], one["source"], one["place"]

    assert storage() == ("sqlite:///sweeper.db", "default", "")
    own = user(here, 'storage = "sqlite:///user.db"')
    assert storage() == ("sqlite:///user.db", "user file", str(own))
    (here / "pyproject.toml").write_text('[tool.sweeper]\nstorage = "sqlite:///shared.db"\n')
    assert storage() == ("sqlite:///shared.db", "project file", "pyproject.toml")
    (here / "sweeper.toml").write_text('storage = "sqlite:///project.db"\n')
    assert storage() == ("sqlite:///project.db", "project file", "sweeper.toml")
    monkeypatch.setenv("SWEEPER_STORAGE", "sqlite:///variable.db")
    assert storage() == ("sqlite:///variable.db", "environment", "SWEEPER_STORAGE")
    flag = ("--storage", "sqlite:///flag.db")
    assert storage(*flag) == ("sqlite:///flag.db", "flag", "--storage")


def test_every_setting_of_a_file_reaches_the_variable_that_the_code_reads(here: Path) -> None:
    """Paths are from the file's own folder; what is off or automatic sets nothing."""
    (here / "sweeper.toml").write_text(
        'storage = "sqlite:///a.db"\nray_address = "head:6379"\ncheckpoints = "kept"\n'
        'data_root = "data"\ncache = "cache"\ndashboard_host = "localhost"\n'
        'dashboard_port = 8081\nwatch_port = 8090\ncolour = "never"\ndebug = true\n'
        'log_file = "a.log"\nlog_format = "json"\nverbose = false\n'
    )
    before = dict(os.environ)
    with settings.in_force() as values:
        assert {value.source for value in values} == {"project file"}
        meanwhile = {name: text for name, text in os.environ.items() if before.get(name) != text}
    assert meanwhile == {
        "SWEEPER_STORAGE": "sqlite:///a.db",
        "SWEEPER_RAY_ADDRESS": "head:6379",
        "SWEEPER_CHECKPOINTS": str(here / "kept"),
        "SWEEPER_DATA_ROOT": str(here / "data"),
        "SWEEPER_CACHE": str(here / "cache"),
        "SWEEPER_DASHBOARD_HOST": "localhost",
        "SWEEPER_DASHBOARD_PORT": "8081",
        "SWEEPER_WATCH_PORT": "8090",
        "NO_COLOR": "1",
        "SWEEPER_LOG_FILE": str(here / "a.log"),
        "SWEEPER_LOG_FORMAT": "json",
        "SWEEPER_DEBUG": "1",
    }
    assert dict(os.environ) == before


def test_commands_use_what_a_file_sets(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` looks into the database that the project's file names."""
    (here / "sweeper.toml").write_text('storage = "sqlite:///elsewhere.db"\n')
    assert run(["status"]) == 2
    assert "elsewhere.db" in capsys.readouterr().err
    assert list(here.iterdir()) == [here / "sweeper.toml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('storge = "x"', "sweeper.toml: 'storge' is not known; did you mean 'storage'?"),
        ("color = 'never'", "sweeper.toml: 'color' is not known; did you mean 'colour'?"),
        ("storage = 5", 'sweeper.toml: storage: 5 must be "text" in quotes'),
        ('storage = ""', "sweeper.toml: storage: '' must be \"text\" in quotes"),
        ("debug = 1", "sweeper.toml: debug: 1 must be true or false"),
        (
            "dashboard_port = 70000",
            "sweeper.toml: dashboard_port: 70000 must be a whole number from 0 to 65535",
        ),
        (
            "dashboard_port = true",
            "sweeper.toml: dashboard_port: True must be a whole number from 0 to 65535",
        ),
        (
            'colour = "red"',
            'sweeper.toml: colour: \'red\' must be "auto", "always" or "never"',
        ),
        ("[cache]\nx = 1", "sweeper.toml: cache: this table must be a path in quotes"),
        ("storage =", "sweeper.toml: is not TOML: Invalid value (at line 1, column 10)"),
    ],
)
def test_a_wrong_file_is_refused_with_key_value_and_fix(
    text: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 before anything is created, whatever the command."""
    (here / "sweeper.toml").write_text(text + "\n")
    assert run(["spaces"]) == 2
    assert capsys.readouterr().err.startswith(f"sweeper: {message}")


def test_help_works_beside_a_wrong_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever asks how to write the file gets an answer."""
    (here / "sweeper.toml").write_text("storage = 5\n")
    assert run(["config", "--help"]) == 0
    assert "sweeper.toml" in capsys.readouterr().out


def test_no_password_is_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in the table nor in JSON; a password in a project's file is warned of."""
    (here / "sweeper.toml").write_text(f'storage = "{URL}"\n')
    for arguments in (["config"], ["config", "--json"]):
        assert run(arguments) == 0
        captured = capsys.readouterr()
        assert "postgresql://me:***@db.example/x" in captured.out
        assert "warning: sweeper.toml: a password" in captured.err
        assert SECRET not in captured.out + captured.err


def test_an_empty_variable_counts_as_unset(here: Path) -> None:
    """As for the options: an empty SWEEPER_STORAGE leaves the default."""
    found = settings.resolve({"SWEEPER_STORAGE": ""}, here, here / "none.toml")
    assert found[0].source == "default"


def test_a_file_that_cannot_be_read_is_named(here: Path) -> None:
    """A folder of that name, or bytes that are no text."""
    (here / "sweeper.toml").mkdir()
    with pytest.raises(InputError, match=r"sweeper\.toml: cannot be read: Is a directory"):
        settings.resolve({}, here, here / "none.toml")
    own = user(here, "")
    own.write_bytes(b"\xff\xfe")
    (here / "sweeper.toml").rmdir()
    with pytest.raises(InputError, match=r"config\.toml: is not UTF-8 text"):
        settings.resolve({}, here, own)


def test_each_setting_has_a_row_in_the_table(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name, value and source; where the files are looked for stands below."""
    assert run(["config"]) == 0
    captured = capsys.readouterr()
    rows = [line.split()[0] for line in captured.out.splitlines()[1:]]
    assert rows == [setting.name for setting in settings.SETTINGS]
    assert captured.err.startswith("files: sweeper.toml or pyproject.toml here, and ")


def test_the_document_has_every_setting() -> None:
    """docs/settings.md: key, flag, variable and default of each, in the same order."""
    text = (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8")
    rows = [
        line for line in text.split("## All settings")[1].splitlines() if line.startswith("| `")
    ]
    assert len(rows) == len(settings.SETTINGS)
    for row, setting in zip(rows, settings.SETTINGS, strict=True):
        key, flag, variable, default = (cell.strip() for cell in row.split("|")[1:5])
        assert key == f"`{setting.name}`"
        assert flag.strip("`") == setting.flag
        assert variable.replace("`", "") == setting.variable
        assert default.strip("`") in (setting.default, "~/.cache/sweeper")
