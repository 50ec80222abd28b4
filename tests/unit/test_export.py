"""Tables on disk: complete, equal in both formats, never overwritten unasked."""

import numpy as np
import pandas as pd
import planted
import pytest

from sweeper.errors import InputError
from sweeper.report.export import export
from sweeper.states import Ending
from sweeper.store.store import Store

TABLES = ["absence", "anova", "attempts", "best", "cells", "classes", "curves", "differences",
          "exchange", "fairness", "final", "runs", "slopes", "steps", "summary"]  # fmt: skip


@pytest.fixture(scope="module")
def plan():
    failures = {(3, 1): (Ending.DIVERGED, "nan"), (2, 0): (Ending.PRUNED, "")}
    return planted.plan(replicates=4, epochs=3, failures=failures)


@pytest.fixture(scope="module")
def out(plan, tmp_path_factory):
    """The plan in a real SQLite database, exported; read only."""
    folder = tmp_path_factory.mktemp("export")
    with Store.open(f"sqlite:///{folder / 'sweeper.db'}", create=True) as store:
        export(store, planted.fill(store, plan), folder / "tables")
    return folder / "tables"


def test_every_table_comes_in_both_formats(out):
    """Every table, Parquet and CSV, and nothing half written beside them."""
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{table}.{kind}" for table in TABLES for kind in ("csv", "parquet")
    )


@pytest.mark.parametrize("table", TABLES)
def test_both_formats_hold_the_same(out, table):
    """CSV loses types, not numbers."""
    parquet, csv = pd.read_parquet(out / f"{table}.parquet"), pd.read_csv(out / f"{table}.csv")
    assert list(parquet.columns) == list(csv.columns)
    assert len(parquet) == len(csv) > 0
    for name in parquet.select_dtypes("number"):
        np.testing.assert_allclose(
            parquet[name].to_numpy(dtype=float), csv[name].to_numpy(dtype=float), rtol=1e-12
        )


def test_the_final_numbers_are_those_of_complete_runs(out, plan):
    """One row a run, split, metric and target; failed and pruned runs have none."""
    final = pd.read_parquet(out / "final.parquet")
    assert final["run"].nunique() == 30
    key = (final["split"] == "test") & (final["metric"] == "minority_accuracy")
    at = plan.layout.index(("test", "minority_accuracy", ""))
    expected = [matrix[-1, at] for cell, matrix in plan.numbers.items() if cell not in plan.endings]
    assert sorted(final.loc[key, "value"]) == pytest.approx(sorted(expected))


def test_factors_are_columns_with_their_own_types(out):
    """Batch size is whole, the ratio is not."""
    cells = pd.read_parquet(out / "cells.parquet")
    assert cells[planted.BATCH].dtype == np.int64
    assert set(cells[planted.RATIO]) == {1.0, 0.05}


def test_tables_are_not_overwritten_unasked(plan, tmp_path):
    """--force, or an empty place."""
    store = planted.Memory(plan)
    (tmp_path / "runs.csv").write_text("mine")
    with pytest.raises(InputError, match=r"holds runs\.csv already; --force"):
        export(store, plan.sweep.name, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]
    export(store, plan.sweep.name, tmp_path, force=True)
    assert (tmp_path / "runs.csv").read_text() != "mine"


def test_a_file_is_not_a_folder(plan, tmp_path):
    """The message has one line."""
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        export(planted.Memory(plan), plan.sweep.name, tmp_path / "x")
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        export(planted.Memory(plan), plan.sweep.name, tmp_path / "x" / "y")


def test_an_empty_sweep_can_be_exported(tmp_path):
    """No finished run: the tables are there, some without rows."""
    waiting = {(c, r): (None, "") for c in range(8) for r in range(2)}
    plan = planted.plan(replicates=2, failures=waiting)
    files = export(planted.Memory(plan), plan.sweep.name, tmp_path)
    assert len(pd.read_parquet(tmp_path / "runs.parquet")) == 16
    assert len(files) == 16
