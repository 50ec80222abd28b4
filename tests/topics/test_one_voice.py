"""One verdict for one pair: headline, sections, note, status and export of random sweeps agree."""

import re
from typing import Any

import numpy as np
import planted
import pytest

from sweeper import so_far
from sweeper.analysis.factors import show
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.report.export import tables_of
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.best_levels import text as levels_text
from sweeper.topics.differences import estimate as differences
from sweeper.topics.headline import note
from sweeper.topics.headline.text import lead, lines
from sweeper.topics.registry import sections

BATCH, RATIO, AUGMENTATION = planted.BATCH, planted.RATIO, "train.augmentation"
VERDICTS = re.compile(r"\b(beaten|better than|worse than|about equal to|best level)\b")
SPEAKS = {"best", "differences", "classes"}  # of levels, or of another question in one sentence


def random_sweep(seed):
    """Two to five levels, with or without a condition and a second choice, of any truth."""
    rng = np.random.default_rng(seed)
    levels: dict[str, list[Any]] = {BATCH: [2, 8, 32, 128, 512][: rng.integers(2, 6)]}
    if rng.random() < 0.6:
        levels[RATIO] = [1.0, 0.05]
    if rng.random() < 0.4:
        levels[AUGMENTATION] = ["none", "mixup"]
    effect = {level: rng.choice([0.0, 0.0, -0.01, -0.03, -0.2]) for level in levels[BATCH]}
    plan = planted.plan(
        levels=levels,
        seed=seed,
        replicates=int(rng.integers(2, 8)),
        noise=float(rng.choice([0.0005, 0.003, 0.02])),
        epochs=1,
        truth=lambda f: 0.8 + effect[f[BATCH]] + 0.02 * (f.get(AUGMENTATION) == "mixup"),
    )
    frames = load(planted.Memory(plan), plan.sweep.name)
    return frames, view_of(frames)


@pytest.fixture(scope="module", params=range(8))
def sweep(request):
    return random_sweep(request.param)


def test_the_headline_names_exactly_the_levels_that_may_be_best(sweep):
    """It takes those that are not beaten, and gives a cost to each of the others."""
    _, view = sweep
    found = best_levels.question(view)
    assert found is not None
    said = lead(view).headline
    assert said.endswith(levels_text.answer(found))
    said = levels_text.answer(found)
    taken, _, priced = said.partition(". ")
    for one in found.levels:
        level = rf"(?<![\d.]){show(one.value)}(?![.\d]*\d)"
        assert bool(re.search(f"{level} costs", priced)) == one.beaten
        assert one.beaten or found.n < 3 or re.search(level, taken.partition("batch size")[2])


def test_a_difference_has_the_verdict_of_its_pair(sweep):
    """The section on differences reads the same table."""
    _, view = sweep
    found = {one.factor.path: one for one in view.of(best_levels.build)}
    effects = view.of(differences.build).primary
    assert {one.factor.path for one in effects} == set(found)
    for effect in effects:
        for one, verdict in zip(effect.differences, effect.verdicts, strict=True):
            pair = (one.level, one.reference)
            assert found[effect.factor.path].verdicts[pair].badge == verdict.badge
            assert found[effect.factor.path].pairs.estimate(*pair) == one.estimate
    assert all(not one.verdicts for one in view.of(differences.build).exploratory)


def test_note_status_and_cards_say_the_same(sweep):
    """The study's note and `sweeper status` give the headline; a card, its choice's answer."""
    _, view = sweep
    said = lead(view)
    assert note.plain(said.headline) in note.note(view)
    assert so_far.answer(view) == said.headline
    others = view.of(best_levels.build)[1:]
    for line, one in zip(lines(view), others, strict=True):
        assert line.text.startswith(levels_text.answer(one))


def test_exported_rows_agree_with_the_answer(sweep):
    """A level is beaten exactly if a row of its pairs says so."""
    frames, view = sweep
    table = tables_of(frames)["best"]
    pairs = table[table["kind"] == "pair"]
    for one in view.of(best_levels.build):
        own = table[(table["kind"] == "level") & (table["factor"] == one.factor.path)]
        rows = pairs[pairs["factor"] == one.factor.path]
        for _, row in own.iterrows():
            first = rows[[level == row["level"] for level in rows["level"]]]["verdict"]
            second = rows[[level == row["level"] for level in rows["against"]]]["verdict"]
            lost = any("worse" in word for word in first) or any("better" in w for w in second)
            assert (row["verdict"] == "beaten") == lost


def test_no_other_section_judges_a_level(sweep):
    """Trends, factors, error bars, curves: intervals, and no verdict word."""
    _, view = sweep
    for _, part in sections(view):
        if part.id in SPEAKS:
            continue
        told = [part.intro, part.finding, *(figure.title for figure in part.figures)]
        told += [cell for _, table in part.tables for row in table.rows for cell in row]
        assert [text for text in told if VERDICTS.search(text)] == []
