"""The table of cells."""

import planted

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.report import page
from sweeper.states import Ending
from sweeper.topics.cells import section as cells


def test_a_level_that_was_lost_whole_comes_last_and_the_page_is_made():
    """Batch size 8 failed in every replicate: left out of comparisons, still in the table."""
    lost = {(1, replicate): (Ending.DIVERGED, "") for replicate in range(5)}
    levels = {"train.batch_size": [2, 8, 32]}
    plan = planted.plan(levels=levels, failures=lost)
    frames = load(planted.Memory(plan), plan.sweep.name)
    shown = cells.table(view_of(frames))
    assert [row[2] for row in shown.rows] == ["2", "32", "8"]
    assert "batch size 8" in page.html(frames)
