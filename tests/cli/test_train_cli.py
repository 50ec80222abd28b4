"""`sweeper train`: one configuration trained and kept, wherever the command is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import environment, sweeper

from sweeper.cli.app import run
from trainers.__main__ import main as train

BEST = """
data: {dataset: digits, max_per_class: 20}
train: {model: resnet, epochs: 2, batch_size: 16, lr: 0.05}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the configuration of one run."""
    (tmp_path / "best.yaml").write_text(BEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_does_what_the_trainers_own_command_does(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same lines on stdout, the same weights in the folder."""
    assert train(["best.yaml", "--replicate", "7", "--out", "one"]) == 0
    before = capsys.readouterr()
    assert run(["train", "best.yaml", "--replicate", "7", "--out", "two"]) == 0
    after = capsys.readouterr()
    assert after.out == before.out
    assert [json.loads(line)["round"] for line in after.out.splitlines()] == [1, 2]
    assert after.err == before.err.replace("one", "two")
    weights = [(folder / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


def test_a_folder_named_like_ours_is_no_obstacle(folder: Path) -> None:
    """`python -m trainers` would run the user's own folder; the installed command does not."""
    for name in ("trainers", "sweeper"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    done = sweeper("train", "best.yaml", "--out", "model", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "model" / "README.md").exists()


def test_a_run_that_diverges_ends_with_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is saved, and the reason is on stderr."""
    (folder / "best.yaml").write_text(BEST.replace("lr: 0.05", "lr: 1.0e30"))
    assert run(["train", "best.yaml", "--out", "model"]) == 3
    assert "diverged in round 1; nothing is saved" in capsys.readouterr().err
    assert not list((folder / "model").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.yaml"], "gone.yaml: No such file or directory: gone.yaml"),
        (["bad.yaml"], "bad.yaml: train.epochs: "),
        (["best.yaml", "--out", "best.yaml"], "--out: 'best.yaml' is a file; name a folder"),
        (["best.yaml", "--out", "full"], "--out: 'full' is not empty; --force writes into it"),
        (["best.yaml", "--device", "tpu"], "'tpu' is not one of 'cpu', 'cuda'"),
        (["best.yaml", "--plugin", "gone.py"], "--plugin gone.py: no such Python file"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and nothing on stdout."""
    (folder / "bad.yaml").write_text("train: {epochs: many}\n")
    (folder / "full").mkdir()
    (folder / "full" / "mine").touch()
    assert run(["train", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


def test_a_network_of_a_plugin_can_be_trained(folder: Path) -> None:
    """The same option as `launch` has, for what its sweep was run with."""
    (folder / "mine.py").write_text(
        "from trainers.catalogue import Entry, add\n"
        "from trainers.models.resnet import ResNet\n"
        "add(Entry('model', 'mine', ResNet, data=('image',)))\n"
    )
    (folder / "best.yaml").write_text(BEST.replace("model: resnet", "model: mine"))
    code = (
        "from sweeper.cli.app import run\n"
        "print(run(['train', 'best.yaml']), run(['train', 'best.yaml', '--plugin', 'mine.py']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "2 0"
