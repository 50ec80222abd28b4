"""An imported random search: tuning curves, good learning rates, and what the page says of them."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from foreign import Imports, Write

from sweeper.analysis.frames import load
from sweeper.analysis.view import SweepView, view_of
from sweeper.store import Store
from sweeper.topics.headline import text as words
from sweeper.topics.headline.caveats import caveats
from sweeper.topics.tuning_curve import estimate, text


def view(imports: Imports, name: str) -> SweepView:
    with Store.open("sqlite:///sweeper.db", create=False) as store:
        return view_of(load(store, name))


def random_search(rows: int = 40) -> str:
    """A table of a random search: batch 64 gives 0.2 more than batch 8; a fifth diverge."""
    rng = np.random.default_rng(1)
    lines = ["batch_size,lr,diverged,accuracy"]
    for at in range(rows):
        batch, lr = (8, 64)[at % 2], 10 ** rng.uniform(-4, 0)
        lost = at % 5 == 4
        value = 0.1 if lost else 0.5 + 0.2 * (batch == 64) + 0.1 * rng.random()
        lines.append(f"{batch},{lr},{lost},{value}")
    return "\n".join(lines)


def test_failed_runs_count_with_their_last_value(imports: Imports, write: Write) -> None:
    """The median and the curve of a level are those of all of its runs, by pandas."""
    assert imports.run("import", write("t.csv", random_search()), "--yes")[0] == 0
    found = view(imports, "t").of(estimate.build)
    assert found is not None
    rows = pd.read_csv("t.csv")
    for one in found.curves:
        mine = rows[rows["batch_size"] == one.level]
        assert (one.runs, one.lost) == (len(mine), int(mine["diverged"].sum()))
        assert one.median == pytest.approx(100 * statistics.median(mine["accuracy"]), rel=1e-5)
        assert one.best == pytest.approx(100 * mine["accuracy"].max(), rel=1e-5)
        good = mine[mine["accuracy"] >= mine["accuracy"].max() - 0.05]
        assert one.rates is not None
        ends = (one.rates.runs, one.rates.low, one.rates.high)
        assert ends == pytest.approx((len(good), good["lr"].min(), good["lr"].max()))


def test_a_level_that_is_ahead_is_named(imports: Imports, write: Write) -> None:
    """Bands that are apart at some number of trials, and the words for it."""
    assert imports.run("import", write("t.csv", random_search(72)), "--yes")[0] == 0
    found = view(imports, "t").of(estimate.build)
    assert found is not None
    assert [pair[:2] for pair in found.apart] == [(64, 8)]
    assert "64 is ahead of 8 from" in text.certainty(found)
    page = imports.page("t")
    assert "Tuned, the best runs at batch size 8 and 64 reach" in page
    assert "Lourie et al., 2024" in page


def test_an_adaptive_search_has_no_tuning_curve(imports: Imports, write: Write) -> None:
    """Its trials learn from each other."""
    name = write("t.csv", random_search())
    assert imports.run("import", name, "--search", "tpe", "--yes")[0] == 0
    assert view(imports, "t").of(estimate.build) is None


# --- the real runs of ConvNeXt on ImageNet

# Runs that left no row, by batch size: the file does not have them. These numbers, and no others,
# give the medians that its README states for all 512 runs.
WITHOUT_ROWS = {128: 33, 256: 18, 512: 13, 1024: 7}
CHANCE = 0.001


def real() -> Path:
    folder = os.environ.get("SWEEPER_DATA")
    path = Path(folder or "", "tuning_curves", "convnext_tiny.parquet")
    if not folder or not path.is_file():
        pytest.skip("SWEEPER_DATA does not name the folder of the real data sets")
    return path


def _check_stored(imports: Imports, rows: pd.DataFrame) -> None:
    """All roles are guessed right: every row is stored, and each run's state and last value."""
    last = rows.sort_values("epoch").groupby("iteration").tail(1)
    states = dict(imports.rows("SELECT state, count(*) FROM sweeper_run GROUP BY state"))
    diverged = int(last["nan_train_loss"].sum())
    assert states == {"complete": len(last) - diverged, "failed": diverged}
    assert imports.rows("SELECT count(*) FROM sweeper_observation") == [(len(rows),)]
    [(best,)] = imports.rows("SELECT max(value) FROM sweeper_run")
    assert best == pytest.approx(last["top_1"].max(), rel=1e-6)


def test_the_best_real_runs_are_near_and_the_medians_mislead(imports: Imports) -> None:
    """At most 3 points between the best tuned runs; the page says so in its first sentence."""
    code, _, err = imports.run("import", str(real()), "--yes")
    assert code == 0
    assert "441 cells (no grid; taken as search: random), 441 runs" in err
    _check_stored(imports, pd.read_parquet(real()))
    seen = view(imports, "convnext_tiny")
    found = seen.of(estimate.build)
    assert found is not None
    bests = {one.level: round(one.best, 1) for one in found.curves}
    assert bests == {128: 72.1, 256: 74.0, 512: 74.9, 1024: 74.4}
    assert found.apart == ()
    headline = (
        "Tuned, the best runs at batch size 128, 256, 512 and 1024 reach 72.1, 74.0, 74.9 and "
        "74.4\N{NO-BREAK SPACE}% top 1, at most 2.8 points apart. Untuned, the median runs would "
        "rank 256 > 512 > 1024 > 128"
    )
    lead = words.lead(seen)
    assert lead.headline.startswith(headline)
    assert lead.more[0].startswith("No level is ahead of another")
    assert any("71 of the runs 1 to 512 have no row" in one for one in caveats(seen))


def test_with_the_runs_that_left_no_row_the_order_is_the_opposite(imports: Imports) -> None:
    """All 512 runs: the medians rank 1024 > 512 > 256 > 128, as the README of the data says.

    Its medians are of each run's best epoch, and a sweep's are of the last.
    """
    rows = pd.read_parquet(real())
    free = iter(sorted(set(range(1, 513)) - set(rows["iteration"])))
    rng, first = np.random.default_rng(0), rows.iloc[0].to_dict()
    lost = [
        {
            **first,
            "iteration": next(free),
            "batch_size": batch,
            "lr": float(rng.uniform(5, 40)),
            "nan_train_loss": True,
            "epoch": 0,
            "top_1": CHANCE,
            "top_5": CHANCE,
        }
        for batch, count in WITHOUT_ROWS.items()
        for _ in range(count)
    ]
    pd.concat([rows, pd.DataFrame(lost)], ignore_index=True).to_parquet("whole.parquet")
    assert imports.run("import", "whole.parquet", "--yes")[0] == 0
    found = view(imports, "whole").of(estimate.build)
    assert found is not None
    medians = {one.level: one.median for one in found.curves}
    assert found.runs == 512
    assert "rank 1024 > 512 > 256 > 128" in text.headline(found)
    for level, stated in {128: 3.6, 256: 10.7, 512: 15.9, 1024: 18.1}.items():
        assert medians[level] == pytest.approx(stated, abs=1.0)
