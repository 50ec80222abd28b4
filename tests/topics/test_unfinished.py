"""A sweep whose runs have not all ended: it shows what there is, and gives no verdict."""

import re
from functools import cache

import numpy as np
import planted
import pytest
from visits import framed

from sweeper import so_far
from sweeper.analysis.view import view_of
from sweeper.report import export, page, sheet
from sweeper.states import Ending
from sweeper.topics.headline import text, unfinished
from sweeper.topics.headline.note import note
from sweeper.topics.recommendation.estimate import recommend
from sweeper.topics.registry import sections
from sweeper.topics.response import estimate as response

CELLS, REPLICATES = 8, 5  # batch size 2 at ratio 1, at 0.05; 8 at 1, at 0.05; ...
VERDICTS = re.compile(r"\b(take|suggests?|beaten|ruled out|better than|worse than)\b", re.I)
STAGES = {
    "no run": lambda cell, r: False,
    "a run": lambda cell, r: (cell, r) == (1, 0),
    "a cell": lambda cell, r: cell == 1,
    "half of the cells": lambda cell, r: cell < 4,
    "one replicate": lambda cell, r: r == 0,
    "half of the blocks": lambda cell, r: r < 3,
    "all but one run": lambda cell, r: (cell, r) != (7, 4),
}


@cache
def frames(stage):
    open_runs = {
        (cell, r): (None, "")
        for cell in range(CELLS)
        for r in range(REPLICATES)
        if not STAGES[stage](cell, r)
    }
    return framed(planted.plan(failures=open_runs))


@cache
def view_at(stage):
    return view_of(frames(stage))


def words(made):
    return " ".join([made.headline, *made.more, made.basis]).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("stage", STAGES)
def test_there_is_no_verdict_before_all_runs_have_ended(stage):
    """Page, note, sheet, status and export agree: what was seen so far, and nothing to take."""
    view = view_at(stage)
    lead = text.lead(view)
    assert lead.headline.startswith("So far")
    assert not lead.marks
    assert not text.lines(view)
    assert not VERDICTS.search(words(lead))
    assert lead.headline in sheet.sheet_of(view).lead.headline
    assert "So far" in note(view)
    assert so_far.answer(view) == ""
    assert "best" not in {one.id for _, one in sections(view)}
    best = export.tables_of(view.frames).get("best")
    assert (best is None) == (stage == "no run")
    assert best is None or best["withheld"].str.contains("to come").all()


@pytest.mark.parametrize("stage", STAGES)
def test_the_first_screen_is_never_empty(stage):
    """It counts the runs of each level, and no number is missing from what it shows."""
    shown = re.sub(r"<script.*?</script>", "", page.html(frames(stage)), flags=re.S)
    [answer] = re.findall(r'<section class="answer".*?</section>', shown, flags=re.S)
    assert "Runs complete, by batch size" in answer
    assert "n/a" not in answer
    assert ("data-figure=" in answer) == (stage != "no run")
    assert "Partial: " in shown


def test_levels_are_told_by_what_is_complete():
    """No run, no block, one block, three blocks: the sentence follows."""
    told = {stage: words(text.lead(view_at(stage))) for stage in STAGES}
    assert "no run is complete: 40 runs of 8 cells are planned." in told["no run"]
    assert "no replicate has every batch size at train ratio 0.05 yet" in told["a cell"]
    assert "20 of 40 runs are complete" in told["half of the cells"]
    assert "So far, over 1 complete replicate at train ratio 0.05" in told["one replicate"]
    assert "So far, over 3 complete replicates" in told["half of the blocks"]
    assert "So far, over 4 complete replicates" in told["all but one run"]
    assert all(
        "Verdicts are given when all planned runs have ended." in one for one in told.values()
    )


def test_the_headline_gives_the_means_of_complete_blocks():
    """By hand: replicate 4 lacks batch size 128, so it counts at no level."""
    made = frames("all but one run")
    runs = made.runs.join(made.cells["factors"], on="cell")
    values = 100 * made.numbers["test", "minority_accuracy", ""]
    for level in (2, 8, 32, 128):
        at = [one[planted.BATCH] == level and one[planted.RATIO] == 0.05 for one in runs["factors"]]
        mean = values[runs.index[np.array(at) & (runs["replicate"] < 4)]].mean()
        assert f"{mean:.1f} %" in words(text.lead(view_of(made)))


def test_single_runs_are_dots_and_blocks_are_means():
    """All 39 runs are drawn; means at train ratio 0.05 are over the four whole replicates."""
    view = view_at("all but one run")
    found = view.of(response.build)
    points = found.points[found.points["measure"] == view.objective.name]
    curve = found.curve[found.curve["measure"] == view.objective.name]
    assert len(points) == 39
    assert {(row["by"], row["n"]) for _, row in curve.iterrows()} == {(0.05, 4), (1.0, 5)}


def test_runs_that_a_curve_would_average_are_dots_too():
    """With a third factor, each of its cells has its own dots; nothing waits for the others."""
    levels = {planted.BATCH: [2, 8], planted.RATIO: [1.0, 0.05], "train.width": [1, 2]}
    waiting = {(cell, r): (None, "") for cell in (1, 3, 5, 7) for r in range(3)}
    view = view_of(framed(planted.plan(levels=levels, replicates=3, failures=waiting)))
    found = view.of(response.build)
    assert len(found.points[found.points["measure"] == view.objective.name]) == 12
    assert not found.curve["n"].any()


@pytest.mark.parametrize("stage", ["a cell", "half of the cells", "one replicate"])
def test_parts_that_compare_wait_for_three_blocks(stage):
    """Fewer give no interval: the page shows the runs, their curves and the cells."""
    shown = {one.id for _, one in sections(view_at(stage))}
    assert shown == {"response", "training", "cells"}


def test_differences_of_three_blocks_are_intervals_without_verdicts():
    """An unplanned look decides nothing."""
    shown = {one.id: one for _, one in sections(view_at("half of the blocks"))}
    [table] = [one for _, one in shown["differences"].tables if "verdict" in one.head][:1]
    verdicts = {row[table.head.index("verdict")] for row in table.rows}
    assert verdicts - {""} == {"withheld"}  # other measures have none


def test_the_best_so_far_is_no_level_of_a_condition():
    """Balanced data are always easier: only cells at the strongest imbalance are ranked."""
    assert "train ratio 0.05" in unfinished.best(view_at("half of the cells"))
    only_balanced = planted.plan(
        failures={(c, r): (None, "") for c in range(8) for r in range(5) if c != 0}
    )
    assert unfinished.best(view_of(framed(only_balanced))) == ""


def test_planned_looks_are_named():
    """A sweep that is looked at by plan says when."""
    made = planted.plan(failures={(7, 4): (None, "")})
    made.sweep.spec["replicates"] = {"looks": [5, 10]}
    told = words(text.lead(view_of(framed(made))))
    assert "Verdicts are given at the planned looks only, at 5 and 10 replicates." in told


def test_a_sweep_that_still_tunes_says_so():
    """No cell is reported yet: the first screen counts the runs that choose its settings."""
    made = planted.with_tuning(planted.plan(), planted.RATES, truth=planted.tuned)
    tuning = [one for one in made.cells if one.role == "tuning"]
    numbers = {(c - 8, r): one for (c, r), one in made.numbers.items() if c >= 8}
    waiting: dict[tuple[int, int], tuple[Ending | None, str]]
    waiting = dict.fromkeys(list(numbers)[1:], (None, ""))
    one = planted.Plan(made.sweep, tuning, made.epochs, numbers, waiting, made.layout)
    told = words(text.lead(view_of(framed(one))))
    assert "the runs that choose its settings come first (1 of 24 have ended)" in told


def test_a_recommendation_says_that_the_sweep_is_not_done():
    """`sweeper best` works at any time, and says what it rests on."""
    made = recommend(view_at("half of the blocks"))
    assert "The sweep is not done: 24 of 40 runs finished." in made.remarks


def test_a_sweep_that_has_ended_gives_its_verdict():
    """The same runs, none to come."""
    view = view_of(framed(planted.plan()))
    assert "take batch size" in words(text.lead(view))
    assert so_far.answer(view) == text.lead(view).headline
