"""`sweeper best` and `sweeper diff` as a new user types them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import planted
import pytest
from ruamel.yaml import YAML
from sklearn.datasets import load_digits

from sweeper.cli.app import run
from sweeper.store import Store
from trainers.__main__ import main as train
from trainers.config import Config

NAME = "batch-size-digits"


def _plan(name: str, batches: list[int], digit: str) -> planted.Plan:
    """A planted sweep whose cells could be trained, with hashes that begin with `digit`."""
    levels = {planted.BATCH: batches, planted.RATIO: [1.0, 0.05]}
    one = planted.plan(name=name, levels=levels, epochs=2, replicates=3)
    cells = [
        replace(
            cell,
            hash=f"{digit}{at:03x}" + "0" * 60,
            config=Config.model_validate(cell.config).model_dump(mode="json"),
        )
        for at, cell in enumerate(one.cells)
    ]
    return replace(one, cells=cells)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose database holds two planted sweeps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SWEEPER_STORAGE", raising=False)
    with Store.open("sqlite:///sweeper.db", create=True) as store:
        planted.fill(store, _plan(NAME, [64, 128], "a"))
        planted.fill(store, _plan("wide", [64, 256], "b"))
    return tmp_path


def test_the_answer_is_taken_home(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """best writes a file, the trainer trains it unchanged, predict applies what was saved."""
    assert run(["best", NAME, "--out", "best.yaml"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "best.yaml\n"
    assert "The best of several flatters itself" in shown.err
    content = YAML(typ="safe").load(Path("best.yaml").read_text())
    assert set(content) == {"data", "train", "evidence"}
    assert content["train"]["batch_size"] == 64
    evidence = content["evidence"]
    assert (evidence["sweep"], evidence["replicates"], evidence["unit"]) == (NAME, 3, "percent")
    assert evidence["again"] == f"sweeper best {NAME} --at data.imbalance.train_ratio=0.05"
    test = evidence["test"]["minority accuracy"]
    assert test["low"] < test["mean"] < test["high"]
    assert train(["best.yaml", "--out", "model"]) == 0
    card = Path("model/README.md").read_text()
    assert "## Evidence for this configuration" in card
    assert f"sweep: {NAME}" in card
    flat, labels = map(np.asarray, load_digits(return_X_y=True))
    np.savez("d.npz", x=(flat / 16).astype(np.float32).reshape(-1, 8, 8), y=labels)
    capsys.readouterr()
    assert run(["predict", "model", "d.npz"]) == 0
    assert "balanced accuracy" in capsys.readouterr().err


def test_best_prints_what_it_would_write(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """YAML on stdout for a pipe; JSON of the same for a script; a condition is held by --at."""
    assert run(["best", NAME, "--at", "data.imbalance.train_ratio=1"]) == 0
    content = YAML(typ="safe").load(capsys.readouterr().out)
    assert content["data"]["imbalance"]["train_ratio"] == 1.0
    assert run(["best", NAME, "--at", "data.imbalance.train_ratio=1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found.pop("version"), found.pop("kind")) == (1, "best")
    assert found == content


def test_diff_of_cells_tells_their_factors(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the first digits of a hash; exit 1 where something differs, 0 in silence where nothing."""
    assert run(["diff", "a000", "a002", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["left"], found["right"]) == (f"cell a00000000000 of {NAME}",
                                               f"cell a00200000000 of {NAME}")  # fmt: skip
    assert found["changes"] == [{"key": "train.batch_size", "left": 64, "right": 128}]
    assert run(["diff", "a000", "B000"]) == 0
    assert capsys.readouterr().out == ""
    assert run(["best", NAME, "--out", "best.yaml"]) == 0
    capsys.readouterr()
    assert run(["diff", "best.yaml", "a000"]) == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "data.imbalance.train_ratio", "  - 0.05", "  + 1.0",
    ]  # fmt: skip


def test_diff_of_sweeps_and_specs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sweeps of the database, spec files and shipped spaces; files need no database."""
    assert run(["diff", NAME, "wide"]) == 1
    out = capsys.readouterr().out
    assert f"--- sweep {NAME}\n+++ sweep wide\nname\n" in out
    assert "scientific.train.batch_size\n  - [64, 128]\n  + [64, 256]\n" in out
    assert "replicates" not in out
    Path("sweeper.db").rename("elsewhere.db")
    assert run(["init", "mine.yaml", "--space", "width"]) == 0
    capsys.readouterr()
    assert run(["diff", "mine.yaml", "width"]) == 1
    assert capsys.readouterr().out.splitlines()[2] == "name"
    assert run(["diff", "mine.yaml", "mine.yaml"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["best"], f"the database holds 2 sweeps; name one: {NAME}, wide"),
        (["best", "batch"], "no sweep named 'batch' in this database"),
        (["best", NAME, "--at", "batch"], "--at: 'batch' must be KEY=VALUE"),
        (["best", NAME, "--at", "train.lr=1"], "--at train.lr: no factor of this sweep"),
        (["best", NAME, "--out", "taken"], "--out taken: exists already; --force replaces it"),
        (["best", NAME, "--out", "no/b.yaml"], "--out no/b.yaml: cannot be written: No such file"),
        (["best", NAME, "--storage", "sqlite:///gone.db"], "gone.db"),
        (["diff", "wide"], "Missing argument"),
        (["diff", "wide", "wode"], "'wode': no spec file, no sweep or cell of this database"),
        (["diff", "wide", "wode"], "did you mean 'wide'?"),
        (["diff", "wide", "a000"], "'wide' is a spec, 'a000' a configuration: compare cells with"),
        (["diff", "a00", "a000"], "'a00': no spec file"),
        (["diff", "0000", "a000"], "'0000': no spec file"),
        (["diff", "bad.yaml", "wide"], "bad.yaml"),
        (["diff", "run.yaml", "a000"], "run.yaml: train.lr: Input should be a valid number, not"),
        (["diff", "x", "y", "--storage", "sqlite:///gone.db"], "'x': no such file, no shipped"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_in_one_line(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line, the way out."""
    Path("taken").write_text("")
    Path("bad.yaml").write_text("name: x\nscientific: [\n")
    Path("run.yaml").write_text("train: {lr: fast}\n")
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


def test_a_prefix_of_several_cells_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are named, so that one can be picked."""
    with Store.open("sqlite:///sweeper.db", create=False) as store:
        planted.fill(store, planted.plan(name="zeros", epochs=1, replicates=1))
    assert run(["diff", "0000", "a000"]) == 2
    assert "8 cells begin so" in capsys.readouterr().err
