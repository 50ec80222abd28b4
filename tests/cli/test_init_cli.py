"""`sweeper init`: a spec file that editors check while it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeper import spec
from sweeper.cli.app import run

LINE = "# yaml-language-server: $schema=sweeper.schema.json"


def test_the_first_line_names_the_schema_that_lies_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The schema is the one that `sweeper schema` prints, and the file is a spec."""
    out = tmp_path / "mine.yaml"
    assert run(["init", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_text("utf-8").splitlines()[0] == LINE
    assert spec.load(out).name == "mine"
    assert run(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "sweeper.schema.json").read_text("utf-8")) == printed


def test_a_schema_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    """It belongs to the Sweeper that wrote it."""
    schema = tmp_path / "sweeper.schema.json"
    schema.write_text('{"title": "SpecFile", "properties": {}}')
    assert run(["init", str(tmp_path / "mine.yaml")]) == 0
    assert json.loads(schema.read_text("utf-8"))["properties"]


@pytest.mark.parametrize("content", ["{}", "my notes", '{"title": "another"}'])
def test_another_file_of_that_name_is_kept(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written, and the line says what to do; --force agrees."""
    schema = tmp_path / "sweeper.schema.json"
    schema.write_text(content)
    assert run(["init", str(tmp_path / "mine.yaml")]) == 2
    assert "is no schema of Sweeper's; --force overwrites it" in capsys.readouterr().err
    assert schema.read_text("utf-8") == content
    assert list(tmp_path.iterdir()) == [schema]
    assert run(["init", str(tmp_path / "mine.yaml"), "--force"]) == 0
