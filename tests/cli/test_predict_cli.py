"""`sweeper predict` as somebody uses it who was given a model and a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import environment

from sweeper.cli.app import run
from trainers.__main__ import main as train

TRAIN = {"model": "mlp", "width": 0.1, "epochs": 4, "batch_size": 16, "lr": 0.1}


def _rows(count: int, seed: int) -> pd.DataFrame:
    """Three classes that age and town determine; a tenth of the ages is missing."""
    rng = np.random.default_rng(seed)
    kind = np.arange(count) % 3
    age = np.where(rng.random(count) < 0.1, np.nan, rng.normal(30 * kind, 4))
    town = np.array(["Ulm", "Bern", "Graz"])[np.where(rng.random(count) < 0.2, 0, kind)]
    return pd.DataFrame({"age": age, "town": town, "kind": np.array(["one", "two", "few"])[kind]})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, made as the documents say."""
    folder = tmp_path_factory.mktemp("trained")
    _rows(300, 0).to_csv(folder / "old.csv", index=False)
    data = {"dataset": "table", "path": "old.csv", "target": "kind"}
    (folder / "best.yaml").write_text(json.dumps({"data": data, "train": TRAIN}))
    assert train([str(folder / "best.yaml"), "--out", str(folder / "model")]) == 0
    return folder / "model"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is typed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def test_new_rows_get_a_class_and_probabilities(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without classes in the file; the path goes to stdout, and nothing else goes anywhere."""
    fresh = _rows(60, 1)
    fresh.drop(columns="kind").to_csv("new.csv", index=False)
    assert run(["predict", str(model), "new.csv"]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("new-classes.csv\n", "")
    found = pd.read_csv("new-classes.csv")
    assert list(found) == ["row", "class", "p:few", "p:one", "p:two"]
    chances = found[["p:few", "p:one", "p:two"]]
    assert chances.sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert (chances.idxmax(axis=1).str[2:] == found["class"]).all()
    assert (found["class"] == fresh["kind"]).mean() > 0.8


def test_known_classes_give_recalls(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recall of each class and their mean, as counted from the table by hand."""
    fresh = _rows(60, 2)
    fresh.iloc[:50].to_parquet("new.parquet", index=False)
    assert run(["predict", str(model), "new.parquet", "--out", "p.parquet", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["kind"], told["samples"]) == (1, "predict", 50)
    found = pd.read_parquet("p.parquet")
    assert found["true"].tolist() == fresh["kind"].tolist()[:50]
    right = (found["class"] == found["true"]).groupby(found["true"]).mean()
    assert {name: one["recall"] for name, one in told["recalls"].items()} == pytest.approx(
        right.to_dict()
    )
    assert told["balanced_accuracy"] == pytest.approx(right.mean())
    assert run(["predict", str(model), "new.parquet", "--out", "p.csv"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "p.csv\n"
    assert f"balanced accuracy {right.mean():.4f}" in shown.err
    assert "few" in shown.err


def test_classes_that_the_model_does_not_know_are_counted_apart(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every row is predicted; the file's own name stays, and recalls are of the known classes."""
    fresh = _rows(60, 4)
    known = fresh["kind"].copy()
    fresh.loc[[3, 9], "kind"] = "odd"
    fresh.loc[5, "kind"] = None
    fresh.to_csv("new.csv", index=False)
    assert run(["predict", str(model), "new.csv", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["samples"], told["unknown"], told["unnamed"]) == (60, {"odd": 2}, 1)
    assert sum(one["samples"] for one in told["recalls"].values()) == 57
    found = pd.read_csv("new-classes.csv", keep_default_na=False)
    assert found["true"].tolist() == fresh["kind"].fillna("").tolist()
    right = (found["class"] == known)[fresh["kind"] == known].groupby(known).mean()
    assert told["balanced_accuracy"] == pytest.approx(right.mean())
    assert run(["predict", str(model), "new.csv", "--force"]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "odd 2 unknown to the model" in shown
    assert "(no class) 1" in shown


def test_levels_that_training_had_not_are_shown(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column in another notation is not taken as missing in silence."""
    fresh = _rows(60, 4).drop(columns="kind")
    fresh["town"] = fresh["town"].str.upper()
    fresh.to_csv("new.csv", index=False)
    assert run(["predict", str(model), "new.csv"]) == 0
    shown = capsys.readouterr().err
    assert "the training data do not have them: values in 'town' (60 of 60 rows)" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "new.csv"], "model: 'nowhere' is no folder"),
        ([".", "new.csv"], "model: '.' is no model"),
        (["MODEL", "gone.csv"], "data: 'gone.csv' cannot be opened: No such file"),
        (["MODEL", "bad.csv"], "data: 'bad.csv' lacks the column 'town' of the training data"),
        (["MODEL", "new.txt"], "of an unknown kind: it should end in .parquet, .csv or .csv.gz"),
        (["MODEL", "new.csv", "--out", "p.xlsx"], "--out p.xlsx: should end in .csv or .parquet"),
        (["MODEL", "new.csv", "--out", "no/p.csv"], "the folder no does not exist"),
        (["MODEL", "new.csv", "--out", "new.csv"], "new.csv: exists already; --force replaces it"),
        (["MODEL"], "Missing argument"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    arguments: list[str],
    message: str,
    model: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, and nothing is written."""
    _rows(9, 3).to_csv("new.csv", index=False)
    _rows(9, 3).drop(columns="town").to_csv("bad.csv", index=False)
    Path("new.txt").write_text("age\n1\n")
    before = sorted(path.name for path in folder.iterdir())
    assert run(["predict", *[str(model) if a == "MODEL" else a for a in arguments]]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_predicting_loads_neither_ray_nor_a_database(model: Path, folder: Path) -> None:
    """Who only applies a model waits for nothing that it does not need."""
    _rows(9, 3).to_csv("new.csv", index=False)
    code = (
        "import sys\nfrom sweeper.cli.app import run\n"
        f"code = run(['predict', {str(model)!r}, 'new.csv', '--json'])\n"
        "print(code, sorted({'ray', 'optuna', 'sqlalchemy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    assert done.stderr.splitlines()[-1] == "0 []"
