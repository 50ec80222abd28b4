"""A sweep of named cells from the command line: planned, launched, reported, verified."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from command import sweeper, sweeper_here

SPEC = """\
name: methods
question: Does SAM-A serve the minority classes better than SGD and SAM?
data: {dataset: digits, max_per_class: 30, imbalance: {profile: step, train_ratio: 0.2}}
train: {model: resnet, depth: 8, width: 0.25, epochs: 2, batch_size: 32, lr: 0.05}
compare:
  - {name: SGD, train.sam.radius: 0}
  - {name: SAM, train.sam.radius: 0.1}
  - {name: SAM-A, train.sam.radius: 0.1, train.sam.asymmetry: 1}
replicates: 2
resources: {workers: 1, pack: 2}
"""


@pytest.mark.slow
def test_named_cells_are_launched_and_reported_by_their_names(tmp_path: Path) -> None:
    """Six runs; the answer, the page, the study and the tables call each cell by its name."""
    (tmp_path / "methods.yaml").write_text(SPEC)
    done = sweeper("launch", "methods.yaml", "--yes", "--report", "r.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 runs are complete" in done.stderr
    page = (tmp_path / "r.html").read_text()
    assert re.search(r"methods? (SGD|SAM|SAM-A)\b", page)
    checked = sweeper_here("verify", "r.html", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert sweeper_here("export", "--out", "tables", cwd=tmp_path).returncode == 0
    cells = pd.read_csv(tmp_path / "tables" / "cells.csv")
    assert list(cells["compare"]) == ["SGD", "SAM", "SAM-A"]
    best = sweeper_here("best", cwd=tmp_path)
    assert re.search(r"compare: (SGD|SAM|SAM-A)\n", best.stdout)
    again = sweeper_here("launch", "methods.yaml", "--yes", cwd=tmp_path)
    assert (again.returncode, "6 of 6 runs are complete" in again.stderr) == (0, True)


@pytest.mark.slow
def test_a_wrong_named_cell_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """The key, the value and the fix, before anything is created."""
    (tmp_path / "methods.yaml").write_text(SPEC.replace("name: SAM,", "name: SGD,"))
    done = sweeper_here("plan", "methods.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "sweeper: methods.yaml:7: compare.name: 'SGD': is given twice; each cell needs its own name"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["methods.yaml"]
