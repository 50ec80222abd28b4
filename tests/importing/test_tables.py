"""Tables of runs become sweeps: every cell, run and number, in each format."""

from __future__ import annotations

import csv
import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from foreign import Imports, Write

GRID = "\n".join(
    ["batch_size,width,seed,accuracy"]
    + [
        f"{batch},{width},{seed},{0.9 - 0.01 * at + 0.001 * seed}"
        for at, (batch, width) in enumerate((b, w) for b in (2, 8, 32) for w in ("a", "b"))
        for seed in (1, 2, 3)
    ]
)
CURVES = "\n".join(
    ["run_id,epoch,lr,val_loss,val_acc,train_loss"]
    + [
        f"r{run},{epoch},{0.1 * (run + 1)},{2 - 0.1 * epoch},{0.5 + 0.1 * epoch + 0.01 * run},"
        f"{3 - epoch}"
        for run in range(4)
        for epoch in range(3)
    ]
)


def numbers(packed: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def test_a_row_a_run_becomes_a_grid(imports: Imports, write: Write) -> None:
    """Each setting is a cell, each seed a replicate, and each number is kept as written."""
    name = write("grid.csv", GRID)
    code, out, _ = imports.run("import", name, "--yes")
    assert (code, out) == (0, "grid\n")
    found = imports.rows(
        "SELECT c.factors, r.replicate, r.state, r.value FROM sweeper_run r "
        "JOIN sweeper_cell c ON c.id = r.cell_id"
    )
    kept = {
        (json.loads(f)["batch_size"], json.loads(f)["width"], seed): (state, value)
        for f, seed, state, value in found
    }
    expected = {
        (int(row["batch_size"]), row["width"], int(row["seed"])): float(row["accuracy"])
        for row in csv.DictReader(io.StringIO(GRID))
    }
    assert kept.keys() == expected.keys()
    for key, value in expected.items():
        assert kept[key] == ("complete", pytest.approx(value, rel=1e-6))


def test_a_row_an_epoch_becomes_curves(imports: Imports, write: Write) -> None:
    """Every epoch is kept, counted from 1, and a run is read at its last epoch."""
    assert imports.run("import", write("curves.csv", CURVES), "--yes")[0] == 0
    [(layout,)] = imports.rows("SELECT layout FROM sweeper_sweep")
    keys = [tuple(key[:2]) for key in json.loads(layout)]
    found = {
        (json.loads(factors)["lr"], epoch): dict(zip(keys, numbers(packed), strict=True))
        for factors, epoch, packed in imports.rows(
            "SELECT c.factors, o.epoch, o.numbers FROM sweeper_observation o "
            "JOIN sweeper_run r ON r.id = o.run_id JOIN sweeper_cell c ON c.id = r.cell_id"
        )
    }
    rows = list(csv.DictReader(io.StringIO(CURVES)))
    assert len(found) == len(rows)
    for row in rows:
        one = found[float(row["lr"]), int(row["epoch"]) + 1]
        assert one["test", "acc"] == pytest.approx(float(row["val_acc"]), rel=1e-6)
        assert one["test", "loss"] == pytest.approx(float(row["val_loss"]), rel=1e-6)
        assert one["train", "loss"] == 3 - int(row["epoch"])
    values = sorted(value for (value,) in imports.rows("SELECT value FROM sweeper_run"))
    assert values == pytest.approx([0.7, 0.71, 0.72, 0.73], rel=1e-6)


def as_jsonl(rows: pd.DataFrame, path: Path) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows.to_dict("records")))


def as_nested(rows: pd.DataFrame, path: Path) -> None:
    """The settings in a block of their own, as loggers write them."""
    settings = ("batch_size", "width")
    listed = [
        {"config": {key: row.pop(key) for key in settings}, **row}
        for row in rows.to_dict("records")
    ]
    path.write_text(json.dumps(listed))


FORMATS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "runs.tsv": lambda rows, path: rows.to_csv(path, sep="\t", index=False),
    "runs.jsonl": as_jsonl,
    "runs.json": as_nested,
    "runs.parquet": lambda rows, path: rows.to_parquet(path),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_runs(imports: Imports, name: str) -> None:
    """CSV, TSV, JSON lines, a JSON list and Parquet differ in nothing but the file."""
    query = (
        "SELECT c.factors, r.replicate, r.value FROM sweeper_run r "
        "JOIN sweeper_cell c ON c.id = r.cell_id JOIN sweeper_sweep s ON s.id = c.sweep_id "
        "WHERE s.name = '{}'"
    )
    rows = pd.read_csv(io.StringIO(GRID))
    rows.to_csv("plain.csv", index=False)
    FORMATS[name](rows, Path(name))
    assert imports.run("import", "plain.csv", "--yes")[0] == 0
    assert imports.run("import", name, "--yes", "--name", "other")[0] == 0
    assert imports.rows(query.format("other")) == imports.rows(query.format("plain"))


def test_the_roles_are_shown_before_anything_is_stored(imports: Imports, write: Write) -> None:
    """Without a terminal and without --yes nothing is made, not even the database."""
    code, out, err = imports.run("import", write("curves.csv", CURVES))
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        "sweeper: import: the roles above are not confirmed; --yes agrees to them"
    )
    assert not imports.stored
    shown = [line.split() for line in err.splitlines()]
    for role, column in (("run", "run_id"), ("epoch", "epoch"), ("factor", "lr")):
        assert [role, column] in [line[:2] for line in shown]
    assert ["metric", "val_acc", "the", "objective:", "higher"] in [line[:5] for line in shown]
    options = "--run run_id --epoch epoch --factor lr --metric val_acc --metric val_loss"
    assert options in err


def test_what_is_shown_as_options_gives_the_same_roles(imports: Imports, write: Write) -> None:
    """So a script needs no guess."""
    name = write("curves.csv", CURVES)
    _, _, err = imports.run("import", name)
    lines = err.splitlines()
    [options] = [line.partition(": ")[2] for line in lines if line.startswith("the same as")]
    _, _, again = imports.run("import", name, *options.split())
    assert again == err


def test_a_role_that_is_given_is_not_guessed(imports: Imports, write: Write) -> None:
    """With one factor given, other columns that vary are no factors; a name can be chosen."""
    text = "train_batch_size,note,seed,top_1\n8,x,0,0.5\n16,x,0,0.6\n8,y,1,0.4\n16,y,1,0.7\n"
    words = ("--factor", "batch_size=train_batch_size", "--replicate", "seed")
    code, _, _ = imports.run("import", write("t.csv", text), *words, "--yes")
    assert code == 0
    [(spec,)] = imports.rows("SELECT spec FROM sweeper_sweep")
    tree = json.loads(spec)
    assert tree["scientific"] == {"batch_size": [8, 16]}
    assert tree["objective"]["metric"] == "top_1"
    assert tree["objective"]["unit"] == "share"
    assert tree["objective"]["direction"] == "maximize"


HEAD = "batch_size,seed,accuracy\n"
BAD: list[tuple[str, str, tuple[str, ...], str]] = [
    (
        "equal cell and replicate",
        f"{HEAD}2,0,0.9\n4,0,0.8\n2,0,0.7\n",
        (),
        "t.csv: line 4: batch_size 2: replicate 0 is there twice (first in line 2)",
    ),
    (
        "a missing metric",
        f"{HEAD}2,0,0.9\n4,0,\n",
        (),
        "t.csv: line 3: accuracy is missing; leave the metric out, or name the column of how runs "
        "ended with --state",
    ),
    (
        "a metric that is no number",
        f"{HEAD}2,0,0.9\n4,0,high\n",
        ("--metric", "accuracy"),
        "t.csv: line 3: --metric accuracy: column 'accuracy' has 'high', not a number",
    ),
    (
        "mixed budgets",
        "run,epoch,lr,loss\na,1,0.1,3\na,2,0.1,2\nb,1,0.2,3\nb,2,0.2,2\nc,1,0.3,3\n",
        (),
        "t.csv: line 6: run c ends at epoch 1 and most runs at 2: runs of mixed budgets are not "
        "compared; --short pruned takes the shorter ones as stopped early, --state COLUMN says how "
        "each run ended",
    ),
    (
        "a factor that changes within a run",
        "run,epoch,lr,loss\na,1,0.1,3\na,2,0.2,2\nb,1,0.2,3\nb,2,0.2,2\n",
        ("--factor", "lr"),
        "t.csv: line 3: run a: factor lr is 0.2 here and 0.1 in line 2",
    ),
    (
        "an epoch twice",
        "run,epoch,lr,loss\na,1,0.1,3\na,1,0.1,2\nb,1,0.2,3\n",
        ("--run", "run", "--epoch", "epoch"),
        "t.csv: line 3: run a has epoch 1 twice; is --run right? (first in line 2)",
    ),
    (
        "a missing replicate",
        f"{HEAD}2,0,0.9\n4,,0.8\n2,1,0.7\n4,1,0.6\n",
        (),
        "t.csv: line 3: replicate seed is missing",
    ),
    (
        "an unknown column",
        f"{HEAD}2,0,0.9\n4,0,0.8\n",
        ("--metric", "acuracy"),
        "t.csv: --metric acuracy: no such column; did you mean 'accuracy'?",
    ),
    (
        "an unknown end",
        "batch_size,status,accuracy\n2,finished,0.9\n4,odd,0.8\n",
        (),
        "t.csv: line 3: --state status: 'odd' is not known; valid: finished, pruned, failed, "
        "diverged, running, true, false",
    ),
    (
        "no factor",
        "seed,accuracy\n1,0.9\n2,0.8\n",
        (),
        "t.csv: no column looks like a factor; name it with --factor COLUMN",
    ),
    (
        "a factor of one level",
        f"{HEAD}2,0,0.9\n2,1,0.8\n",
        ("--factor", "batch_size"),
        "t.csv: --factor batch_size: has one level, 2; leave it out",
    ),
    ("no rows", HEAD, (), "t.csv: has no rows"),
]


@pytest.mark.parametrize(
    ("text", "options", "line"), [one[1:] for one in BAD], ids=[one[0] for one in BAD]
)
def test_a_table_that_contradicts_itself_is_refused_with_its_row(
    imports: Imports, write: Write, text: str, options: tuple[str, ...], line: str
) -> None:
    """One line, exit code 2, and nothing is stored."""
    code, out, err = imports.run("import", write("t.csv", text), *options, "--yes")
    assert (code, out, err) == (2, "", f"sweeper: {line}\n")
    assert not imports.stored


def test_an_unknown_source_is_refused(imports: Imports, write: Write) -> None:
    """No such file, and a file of no known format."""
    code, _, err = imports.run("import", "nowhere.csv", "--yes")
    assert (code, err) == (2, "sweeper: nowhere.csv: no such file or folder\n")
    code, _, err = imports.run("import", write("runs.pkl", "x"), "--yes")
    assert code == 2
    assert "runs.pkl: is of no format that can be imported; valid: " in err
    assert not imports.stored


def test_runs_that_are_short_can_be_taken_as_stopped_early(imports: Imports, write: Write) -> None:
    """--short pruned: the complete runs are those with the most epochs."""
    text = "run,epoch,lr,loss\na,1,0.1,3\na,2,0.1,2\nb,1,0.2,3\nb,2,0.2,2\nc,1,0.3,3\n"
    assert imports.run("import", write("t.csv", text), "--short", "pruned", "--yes")[0] == 0
    states = imports.rows("SELECT state, count(*) FROM sweeper_run GROUP BY state ORDER BY state")
    assert states == [("complete", 2), ("pruned", 1)]


def test_a_factor_may_be_the_budget(imports: Imports, write: Write) -> None:
    """Runs whose epochs are a factor are no mixed budget: they vary it on purpose."""
    text = "run,epoch,epochs,loss\n" + "".join(
        f"{run},{epoch},{epochs},{1 / (epoch + 1)}\n"
        for run, epochs in enumerate((2, 3, 4))
        for epoch in range(epochs)
    )
    assert imports.run("import", write("t.csv", text), "--yes")[0] == 0
    assert "another budget" not in imports.page("t")


def test_how_runs_ended_is_read_from_a_column(imports: Imports, write: Write) -> None:
    """Words and truth values; runs that have not ended are left out and counted."""
    text = (
        "run,epoch,lr,state,loss\n"
        "a,1,0.1,finished,3\na,2,0.1,finished,2\nb,1,0.2,FINISHED,3\nb,2,0.2,FINISHED,2\n"
        "c,1,0.3,diverged,9\nd,1,0.4,crashed,\ne,1,0.5,TrialState.PRUNED,3\nf,1,0.6,running,3\n"
    )
    code, _, err = imports.run("import", write("t.csv", text), "--yes")
    assert code == 0
    assert "1 of 6 runs had not ended and are left out." in err
    ends = imports.rows("SELECT name, COALESCE(ending, '') FROM (SELECT 1 AS name), sweeper_run")
    assert sorted(end for _, end in ends) == ["complete", "complete", "diverged", "error", "pruned"]


def test_repeats_without_a_replicate_are_unpaired_and_say_so(
    imports: Imports, write: Write
) -> None:
    """A table that is sorted by its results must not make blocks of equal luck."""
    draw = random.Random(0)
    rows = sorted(
        ((lr, draw.gauss(0.5, 0.1)) for lr in (0.1, 0.2) for _ in range(60)),
        key=lambda one: one[1],
    )
    text = "lr,score\n" + "".join(f"{lr},{score}\n" for lr, score in rows)
    code, _, err = imports.run("import", write("t.csv", text), "--yes")
    assert code == 0
    remark = "No column names the replicate: repeated runs are taken as independent"
    assert remark in err
    assert remark in imports.page("t")
    found = imports.rows(
        "SELECT c.factors, r.replicate, r.value FROM sweeper_run r "
        "JOIN sweeper_cell c ON c.id = r.cell_id"
    )
    by_lr: dict[float, dict[int, float]] = {}
    for factors, replicate, value in found:
        by_lr.setdefault(json.loads(factors)["lr"], {})[replicate] = value
    one, two = (pd.Series(by_lr[lr]).sort_index() for lr in (0.1, 0.2))
    assert list(one.index) == list(range(60))
    assert abs(one.corr(two)) < 0.4
    assert pd.Series(sorted(one)).corr(pd.Series(sorted(two))) > 0.95


def test_an_import_is_reported_like_any_other_sweep(imports: Imports, write: Write) -> None:
    """The page, its check, the tables and the status; no word of a trainer of one's own."""
    assert imports.run("import", write("grid.csv", GRID), "--yes")[0] == 0
    text = imports.page("grid")
    assert "read from grid.csv (CSV)" in text
    assert "function of your own" not in text
    assert "training function" not in text
    assert "sweeper launch" not in text
    assert "fairness in doubt" in text
    assert "Run otherwise" not in text
    assert "worker time" not in text
    assert imports.run("export", "grid", "--out", "tables")[0] == 0
    summary = pd.read_csv("tables/summary.csv")
    of_two = summary[(summary["batch_size"] == 2) & (summary["width"] == "a")]
    assert of_two["mean"].iloc[0] == pytest.approx(90.2, abs=1e-3)
    code, out, _ = imports.run("status", "grid", "--json")
    assert code == 0
    assert json.loads(out)["sweeps"][0]["state"] == "complete"


def test_an_imported_sweep_cannot_be_launched(imports: Imports, write: Write) -> None:
    """Neither a spec of its name, nor the text of its own spec; nothing changes."""
    assert imports.run("import", write("grid.csv", GRID), "--yes")[0] == 0
    [(spec,)] = imports.rows("SELECT spec_text FROM sweeper_sweep")
    tables = ("sweeper_sweep", "sweeper_cell", "sweeper_run", "sweeper_attempt")
    before = [imports.rows(f"SELECT * FROM {table}") for table in tables]  # noqa: S608
    own = write("own.yaml", spec.replace("name: grid", "name: another"))
    same = write("same.yaml", "name: grid\nscientific: {train.batch_size: [2, 8]}\n")
    for command in ("launch", "plan"):
        code, _, err = imports.run(command, own)
        assert code == 2
        assert "trainer: 'imported': stands for runs that others made" in err
        assert err.rstrip().endswith("nothing can be launched")
        code, _, err = imports.run(command, same)
        assert code == 2
        assert "was imported from grid.csv: its runs were made elsewhere" in err
    code, _, err = imports.run("retry", "grid")
    assert (code, "nothing can be tried again" in err) == (2, True)
    assert [imports.rows(f"SELECT * FROM {table}") for table in tables] == before  # noqa: S608


def test_a_second_import_of_the_name_is_refused(imports: Imports, write: Write) -> None:
    """The sweep that is there stays as it is."""
    name = write("grid.csv", GRID)
    assert imports.run("import", name, "--yes")[0] == 0
    code, _, err = imports.run("import", name, "--yes")
    assert code == 2
    assert err.splitlines()[-1] == (
        "sweeper: --name: a sweep 'grid' is in this database already; choose another name"
    )
    assert imports.rows("SELECT count(*) FROM sweeper_run") == [(18,)]


def test_an_import_is_whole_or_not_there(
    imports: Imports, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after most of its rows, it leaves none."""
    from sweeper.store import finished

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finished, "_add_numbers", killed)
        assert imports.run("import", write("grid.csv", GRID), "--yes")[0] == 130
    assert imports.rows("SELECT count(*) FROM sweeper_sweep") == [(0,)]
    assert imports.rows("SELECT count(*) FROM sweeper_run") == [(0,)]
    assert imports.run("import", "grid.csv", "--yes")[0] == 0


def test_an_import_is_a_study_of_optuna(imports: Imports, write: Write) -> None:
    """A trial for each cell, whose value is the mean over its runs."""
    import optuna

    assert imports.run("import", write("grid.csv", GRID), "--yes")[0] == 0
    study = optuna.load_study(study_name="grid", storage="sqlite:///sweeper.db")
    found = {(one.params["batch_size"], one.params["width"]): one.value for one in study.trials}
    means = pd.read_csv(io.StringIO(GRID)).groupby(["batch_size", "width"])["accuracy"].mean()
    assert found == {key: pytest.approx(value, rel=1e-6) for key, value in means.items()}


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_a_user_at_a_terminal_is_asked(
    imports: Imports, write: Write, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    """Yes imports; no, and no answer, leave everything as it is."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    found, _, err = imports.run("import", write("grid.csv", GRID))
    assert found == code
    assert "Import these runs? [y/N]" in err
    assert imports.stored == (code == 0)


def test_a_name_that_no_sweep_can_have_is_refused(imports: Imports, write: Write) -> None:
    """The rule of a spec's name, for tables and reports alike."""
    code, _, err = imports.run("import", write("grid.csv", GRID), "--name", "a/b", "--yes")
    assert code == 2
    assert err.startswith("sweeper: --name: 'a/b' must be 1 to 100 letters")
    assert not imports.stored


def test_counters_and_paths_are_neither_factors_nor_values(imports: Imports, write: Write) -> None:
    """A best epoch is a result, and a folder of one machine is nobody's setting."""
    text = "run_id,index,best_epoch,epoch,lr,data_dir,optimizer,accuracy\n" + "".join(
        f"r{at},{at},{at + 3},{at + 3},{0.1 * (1 + at % 2)},/home/somebody/data,sgd,0.{5 + at}\n"
        for at in range(4)
    )
    words = ("--factor", "lr", "--yes")
    assert imports.run("import", write("t.csv", text), *words)[0] == 0
    [(spec,)] = imports.rows("SELECT spec FROM sweeper_sweep")
    assert json.loads(spec)["fixed"] == {"optimizer": "sgd"}
    assert b"/home/somebody" not in Path("sweeper.db").read_bytes()
    _, _, err = imports.run("import", "t.csv", "--name", "again")
    shown = [line.split()[1] for line in err.splitlines() if line.split()[0] == "factor"]
    assert shown == ["lr", "best_epoch"] or shown == ["best_epoch", "lr"]


def test_nothing_can_be_recommended_without_numbers_on_val(imports: Imports, write: Write) -> None:
    """`sweeper best` chooses on val, which most tables do not have."""
    assert imports.run("import", write("grid.csv", GRID), "--yes")[0] == 0
    code, _, err = imports.run("best", "grid")
    assert code == 2
    assert "was imported without numbers on val and on test" in err
    both = GRID.replace(",accuracy", ",val_accuracy,test_accuracy").splitlines()
    text = "\n".join([both[0], *(f"{line},{line.rpartition(',')[2]}" for line in both[1:])])
    assert imports.run("import", write("both.csv", text), "--yes")[0] == 0
    code, out, _ = imports.run("best", "both")
    assert (code, "batch_size: 2" in out) == (0, True)


def test_a_factor_may_have_the_name_of_a_column_of_the_report(
    imports: Imports, write: Write
) -> None:
    """`method` compares methods, and the report's tables have a column of that name."""
    rows = [
        f"{m},{n},{s},0.{5 + s}{len(m)}" for m in ("sgd", "sam+") for n in (1, 2) for s in (1, 2, 3)
    ]
    text = "method,n,seed,accuracy\n" + "\n".join(rows)
    assert imports.run("import", write("t.csv", text), "--yes")[0] == 0
    assert "Which level to take" in imports.page("t")
    assert imports.run("export", "t", "--out", "tables")[0] == 0
    summary = pd.read_csv("tables/summary.csv")
    assert set(summary["config.method"]) == {"sgd", "sam+"}
    assert set(summary["config.n"]) == {1, 2}
