"""A report of Sweeper's own becomes the sweep that it was, without the trainer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import planted
import pytest
from foreign import Imports, Write

from sweeper.analysis.frames import Frames, load
from sweeper.report import archive, page, several_page
from sweeper.states import Ending
from sweeper.store import Store

FIRST = "sqlite:///first.db"


def made(plan: planted.Plan, path: str = "report.html", storage: str = FIRST) -> Frames:
    """Stores a plan, writes its report, and returns what the report carries."""
    with Store.open(storage, create=True) as store:
        planted.fill(store, plan)
        page.write(store, plan.sweep.name, out=Path(path))
        return archive.read(archive.dump(archive.clean(load(store, plan.sweep.name))))


def again(name: str) -> Frames:
    """What a report of the imported sweep carries."""
    with Store.open("sqlite:///sweeper.db", create=False) as store:
        return archive.read(archive.dump(archive.clean(load(store, name))))


def same(one: pd.DataFrame, two: pd.DataFrame, *, without: tuple[str, ...] = ()) -> None:
    """Two tables are equal but for the numbers that databases give to rows."""
    one, two = (part.reset_index(drop=True).drop(columns=list(without)) for part in (one, two))
    pd.testing.assert_frame_equal(one, two, check_dtype=False)


IDS = ("sweep_id", "mirrored", "optuna_number")


@pytest.mark.parametrize("kind", [planted.everything, planted.scattered])
def test_every_number_of_a_report_comes_back(imports: Imports, kind: type) -> None:
    """Cells, runs, numbers, curves, attempts, single answers: all that a report shows."""
    before = made(kind())
    assert imports.run("import", "report.html", "--yes")[0] == 0
    after = again(before.sweep.name)
    same(before.cells, after.cells, without=IDS)
    same(before.runs, after.runs, without=("cell",))
    same(before.numbers, after.numbers)
    same(before.curves, after.curves, without=("run",))
    same(before.correct, after.correct)
    ids = ("run_id", "pack_id", "lease_epoch")
    same(before.attempts, after.attempts, without=ids)
    for name in ("spec", "layout", "facts", "stages", "question", "spec_text"):
        assert getattr(after.sweep, name) == getattr(before.sweep, name)


def test_a_report_of_the_import_says_the_same(imports: Imports) -> None:
    """The figures are equal, number for number; launches are neither named nor possible."""
    made(planted.everything())
    assert imports.run("import", "report.html", "--yes")[0] == 0
    text = imports.page("batch-size-digits")
    first = Path("report.html").read_text("utf-8")
    assert figures(text) == figures(first)
    assert "sweeper launch" not in text.partition("<footer>")[0]
    spec = "name: batch-size-digits\nscientific: {train.batch_size: [2, 8]}\n"
    Path("same.yaml").write_text(spec)
    code, _, err = imports.run("launch", "same.yaml")
    assert (code, "was imported from report.html" in err) == (2, True)


def figures(text: str) -> object:
    start = text.index('id="figures">') + len('id="figures">')
    tree = json.loads(text[start : text.index("</script>", start)])
    return [{key: one[key] for key in ("id", "title", "data")} for one in tree if not one["runs"]]


def test_a_report_of_several_sweeps_gives_all_of_them(imports: Imports) -> None:
    """Each under its own name; a name cannot be given to several."""
    plans = [planted.plan(name=name, epochs=2, replicates=3) for name in ("one", "two")]
    with Store.open(FIRST, create=True) as store:
        for plan in plans:
            planted.fill(store, plan)
        several_page.write(store, ["one", "two"], out=Path("both.html"))
    code, _, err = imports.run("import", "both.html", "--name", "x", "--yes")
    assert (code, err) == (2, "sweeper: --name is for one sweep, and both.html has 2\n")
    assert imports.run("import", "both.html", "--yes")[:2] == (0, "one\ntwo\n")
    assert imports.rows("SELECT name FROM sweeper_sweep") == [("one",), ("two",)]


def test_a_sweep_that_was_running_is_interrupted(imports: Imports) -> None:
    """Runs without an end are pending, and nothing is RUNNING that no process runs."""
    plan = planted.plan(epochs=2, replicates=2, failures={(0, 1): (None, "")})
    plan = dataclasses.replace(plan, sweep=dataclasses.replace(plan.sweep, name="cut"))
    made(plan)
    assert imports.run("import", "report.html", "--yes", "--name", "cut again")[0] == 0
    states = dict(imports.rows("SELECT state, count(*) FROM sweeper_run GROUP BY state"))
    assert states == {"complete": 15, "pending": 1}


def test_failed_runs_keep_their_reason(imports: Imports) -> None:
    """Diverged, out of memory, pruned: as the report has them."""
    failures = {(0, 0): (Ending.DIVERGED, "nan"), (1, 1): (Ending.OUT_OF_MEMORY, "full")}
    made(planted.plan(epochs=2, replicates=2, failures=failures))
    assert imports.run("import", "report.html", "--yes")[0] == 0
    found = imports.rows("SELECT ending, error FROM sweeper_run WHERE state = 'failed'")
    assert sorted(found) == [("diverged", "nan"), ("out_of_memory", "full")]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--factor", "x"), "--factor is for tables, and report.html is a report: it has its own "
         "roles"),
        ((), "report.html: is cut off"),
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_read_is_refused(
    imports: Imports, write: Write, words: tuple[str, ...], line: str
) -> None:
    """One line, exit code 2, and nothing is stored."""
    made(planted.plan(epochs=2, replicates=2))
    if not words:
        text = Path("report.html").read_text("utf-8")
        write("report.html", text[: len(text) // 2])
    code, _, err = imports.run("import", "report.html", *words, "--yes")
    assert (code, err) == (2, f"sweeper: {line}\n")
    assert not imports.stored
