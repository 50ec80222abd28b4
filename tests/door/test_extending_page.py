"""docs/extending.md: each of its files works as it stands, and a sweep varies a plug-in's key."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment, sweeper, sweeper_here
from patience import HANG

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text("utf-8")
FILES = {
    text.partition("\n")[0].removeprefix("# "): text
    for text in re.findall(r"^```(?:python|yaml)\n(.*?)^```", PAGE, re.M | re.S)
}
PARTS = ("tempered", "soft_sign", "uniformity", "dim", "small", "norms", "rings", "bars")
SPEC = "poly"
TRAINS = """
import sweeper
from sweeper.cli.app import run
from trainers.arithmetic import Guard
Guard.wrong = lambda *_: None  # each file would have the layers of its network checked anew
for part in {parts}:
    print(part, "without it:", run(["train", f"{{part}}.yaml"]))
    print(part, "with it:", run(["train", f"{{part}}.yaml", "--plugin", f"{{part}}.py"]))
print("factors:", *sweeper.load_spec("poly.yaml", plugins=["poly.py"]).scientific)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_page_has_a_file_and_a_use_of_each_part() -> None:
    """A new example is run below by its name."""
    assert set(FILES) == {f"{name}.{kind}" for name in (*PARTS, SPEC) for kind in ("py", "yaml")}


def test_each_part_trains_with_its_file_and_not_without(folder: Path) -> None:
    """The configuration beside each file is trained to its end."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", TRAINS.format(parts=PARTS)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=HANG,
        check=True,
    )
    codes = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    expected: list[tuple[str, ...]] = [
        (f"{part} without it: 2", f"{part} with it: 0") for part in PARTS
    ]
    expected.append(("factors: train.poly.epsilon",))
    assert codes == [line for lines in expected for line in lines], done.stderr


def test_a_sweep_varies_the_key_of_a_plug_in_and_is_read_without_it(folder: Path) -> None:
    """The spec's key is known once the file has run; the database and the report need no file."""
    refused = sweeper_here("launch", "poly.yaml", cwd=folder)
    assert refused.returncode == 2
    said = "poly.yaml:7: scientific.train.poly.epsilon: no such key to vary; a plug-in's key needs"
    assert said in refused.stderr
    plugin = ("--plugin", "poly.py")
    smaller = ("--set", "train.epochs=1", "--set", "resources.workers=1")
    page = ("--report", "page.html")
    launched = sweeper("launch", "poly.yaml", *plugin, *smaller, *page, "--yes", cwd=folder)
    assert launched.returncode == 0, launched.stderr
    read = {
        command[0]: sweeper_here(*command, cwd=folder)
        for command in (
            ["status"],
            ["report", "--out", "again.html"],
            ["best", "poly"],
            ["verify", "page.html"],
        )
    }
    read["diff"] = sweeper("diff", "poly", "poly.yaml", *plugin, cwd=folder)
    codes = {name: done.returncode for name, done in read.items()}
    errors = "\n".join(done.stderr for done in read.values())
    assert codes == {"status": 0, "report": 0, "best": 0, "verify": 0, "diff": 1}, errors
    assert "6 of 6" in read["status"].stdout
    assert "train.epochs" in read["diff"].stdout
    assert "epsilon" in (folder / "again.html").read_text("utf-8")
