"""docs/python.md in a real notebook kernel, after its driver was killed in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
from patience import HANG

import sweeper
from sweeper.store import Store

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text("utf-8"), re.M | re.S
)
SMALLER = {
    '"workers": 2': '"workers": 1',
    '"train.epochs": 4': '"train.epochs": 1, "resources.workers": 1, "resources.pack": 3',
}
for text, smaller in SMALLER.items():
    assert any(text in one for one in BLOCKS)
    BLOCKS = [one.replace(text, smaller) for one in BLOCKS]
KILL = "import disturbed\ndisturbed.between_evaluations()  # in a run's seventh epoch\n"


def environment() -> dict[str, str]:
    """No setting of this machine's, and both folders on the path of the kernel and the script."""
    kept = {name: one for name, one in os.environ.items() if not name.startswith("SWEEPER_")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "faults")])
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def killed(folder: Path) -> None:
    """The part of the page up to the launch of `sgd`, as a script that is killed in epoch 7."""
    script = folder / "killed.py"
    mine = [one for one in BLOCKS if "SGDClassifier" in one or "trainer=sgd" in one]
    script.write_text("\n".join([KILL, "import sweeper", *mine]))
    ran = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr


def outputs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    """What each cell shows."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in BLOCKS])
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        timeout=HANG,
    )
    client.execute()
    return [cell.outputs for cell in notebook.cells]


def shown(cell: list[dict[str, Any]], kind: str) -> str:
    return "".join(one.get("data", {}).get(kind, "") for one in cell)


def test_7_the_page_runs_in_a_notebook_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells print what the page shows, and the killed sweep continues when the cells run again."""
    killed(tmp_path)
    cells = outputs(tmp_path, monkeypatch)
    said = "".join(one.get("text", "") for cell in cells for one in cell)
    assert "6 of 6 runs are complete" in said
    assert not re.search(r"\x1b|widgets|Warning", said), "lines alone, and no complaints"
    assert "Do small batches serve the minority classes?" in shown(cells[1], "text/html")
    assert "<svg" in shown(cells[1], "text/html")
    assert "Which loss, and how much regularisation?" in shown(cells[4], "text/html")
    assert "estimate" in shown(cells[5], "text/html")
    assert (tmp_path / "digits.html").exists()
    assert "our own training function" in (tmp_path / "mlp.html").read_text("utf-8")
    storage = f"sqlite:///{tmp_path}/sweeper.db"
    for name, runs in (("digits", 6), ("sgd", 12), ("mlp", 12)):
        assert sweeper.open(name, storage=storage).status["runs"]["complete"] == runs
    with Store.open(storage, create=False) as store:
        sweep = store.sweep("sgd")
        assert sweep is not None
        attempts = store.attempts(sweep.id)
    assert max(one.from_epoch for one in attempts) in (6, 7), "it began anew"
