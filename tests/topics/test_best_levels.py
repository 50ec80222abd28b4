"""Which level to take: the costs against plain loops, the words, and one voice on every page."""

import math
import re

import numpy as np
import planted
import pytest
from scipy import stats

from sweeper.analysis import wording
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.topics.best_levels import estimate as best_levels
from sweeper.topics.best_levels import section, text

BATCH, RATIO, AUGMENTATION = planted.BATCH, planted.RATIO, "train.augmentation"


def viewed(**settings):
    plan = planted.plan(**settings)
    return view_of(load(planted.Memory(plan), plan.sweep.name))


def asked(**settings):
    """The comparison that answers a planted sweep."""
    return answered(viewed(**settings))


def answered(view):
    found = best_levels.question(view)
    assert found is not None
    return found


def joint(y, quantile):
    """low[i, j], high[i, j] of level i minus level j, by plain loops."""
    a, n = y.shape
    low, high = np.full((a, a), -math.inf), np.full((a, a), math.inf)
    for i in range(a):
        for j in range(a):
            if i != j:
                d = y[i] - y[j]
                half = quantile * d.std(ddof=1) / math.sqrt(n)
                low[i, j], high[i, j] = d.mean() - half, d.mean() + half
    return low, high


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("metric", "sign"), [("minority_accuracy", 1), ("loss", -1)])
def test_costs_are_those_of_a_plain_loop(seed, metric, sign):
    """a = max(0, low over all), b = max(0, high over those that may be best)."""
    view = viewed(levels={BATCH: [2, 8, 32, 128]}, seed=seed, noise=0.01, metric=metric)
    assert view.x is not None
    y = sign * view.levels(view.objective, factor=view.x).to_numpy()
    low, high = joint(y, stats.t.ppf(1 - 0.05 / 12, 4))
    beaten = [any(low[i, j] > 0 for i in range(4)) for j in range(4)]
    found = answered(view)
    assert [one.beaten for one in found.levels] == beaten
    for j, one in enumerate(found.levels):
        least = max([0.0, *(low[i, j] for i in range(4) if i != j)])
        most = max([0.0, *(high[i, j] for i in range(4) if i != j and not beaten[i])])
        behind = y.mean(axis=1).max() - y[j].mean()
        ends = sorted((-sign * most, -sign * least))
        assert (one.cost.low, one.cost.high) == pytest.approx(tuple(ends))
        assert one.cost.value == pytest.approx(-sign * behind)
        assert one.open == (not beaten[j] and most > (1.0 if sign > 0 else 0.0))


def test_each_choice_has_a_comparison_and_a_condition_has_none():
    """The question first; conditions are held at the strongest imbalance."""
    view = viewed(levels={AUGMENTATION: ["none", "mixup"], RATIO: [1.0, 0.05], BATCH: [2, 8]})
    found = view.of(best_levels.build)
    assert [one.factor.path for one in found] == [BATCH, AUGMENTATION]
    assert {one.condition for one in found} == {"train ratio 0.05"}
    assert [one.at for one in found[0].elsewhere] == [1.0]
    rows = best_levels.rows(found)
    assert rows["kind"].tolist() == ["level", "level", "pair"] * 2


@pytest.mark.parametrize("seed", range(4))
def test_a_pair_has_one_verdict_and_it_fits_the_levels(seed):
    """A level is beaten exactly if a verdict of its pairs says worse."""
    found = asked(seed=seed, noise=0.01)
    for one in found.levels:
        mine = [v for (level, _), v in found.verdicts.items() if level == one.value]
        assert one.beaten == any(verdict.word == "worse" for verdict in mine)
    for (level, other), verdict in found.verdicts.items():
        opposite = {"better": "worse", "worse": "better"}.get(verdict.word, verdict.word)
        assert found.verdicts[other, level].word == opposite


def test_the_words_name_each_level_once_with_its_fate():
    """No level that may be best is called best, nor are two of them called equal."""
    found = asked(noise=0.002, truth=lambda f: 0.8 - 0.3 * (f[BATCH] == 128), seed=3)
    said = text.answer(found)
    assert re.match(r"At train ratio 0\.05, take batch size 2, 8 or 32: they ", said)
    assert said.count("128") == 1
    for one in found.best:
        assert one.open == ("cannot be told apart" in said)


@pytest.mark.parametrize("beaten", [0, 20])
def test_a_sentence_names_a_dozen_levels_at_most(beaten):
    """Eleven and how many more, of forty that may be best, or of twenty that are not."""
    found = asked(
        levels={BATCH: list(range(2, 42))},
        truth=lambda f: 0.8 - 0.3 * (f[BATCH] >= 42 - beaten),
        epochs=1,
    )
    said = text.answer(found)
    assert f"11, 12 and {29 - beaten} more" in said.replace(" or ", " and ")
    assert ("8 more levels cost something" in said) == bool(beaten)


def test_the_table_lists_the_pairs_of_the_best_of_many_levels():
    """The page stays readable; the export has the others."""
    levels = list(range(2, 34))
    view = viewed(
        levels={BATCH: levels}, truth=lambda f: 0.3 + 0.01 * (f[BATCH] % 30), epochs=1, noise=0.001
    )
    found = section.table(view)
    assert len(found.rows) == 28 * 27 // 2
    seen = {row[at] for row in found.rows for at in (1, 2)}
    worst = {"30", "31", "2", "32"}  # 0, 1, 2 and 2 of a hundred
    assert {str(level) for level in levels} - seen == worst
    assert "the pairs of the 28 levels with the best means of 32;" in found.note
    pairs = best_levels.rows(view.of(best_levels.build)).query("kind == 'pair'")
    assert len(pairs) == 32 * 31 // 2


def test_a_level_within_the_margin_is_said_not_to_matter():
    """Beaten, by less than a point."""
    found = asked(
        levels={BATCH: [2, 8]}, noise=0.0005, truth=lambda f: 0.8 - 0.005 * (f[BATCH] == 8)
    )
    assert text.answer(found).count("less than matters") == 1
    assert text.badge(found) == "decided"


def test_what_would_settle_an_open_level_has_its_price():
    """Replicates and the command that adds them."""
    found = asked(levels={BATCH: [2, 8]}, noise=0.02, truth=lambda _: 0.8, seed=1)
    assert len(found.open) == 2
    assert re.search(
        r"more replicates? would (show|separate) batch size|more replicates? would (show|separate)",
        text.settling(found),
    )
    assert "--set replicates=" in text.settling(found)


def test_the_figure_and_the_table_hold_the_same_numbers():
    """A mark a level, and a row a pair."""
    view = viewed(noise=0.004)
    drawn = section.section(view)
    assert drawn is not None
    [figure] = drawn.figures
    marks = {y: x for one in figure.data for x, y in zip(one["x"], one["y"], strict=True)}
    found = answered(view)
    assert marks == {
        str(one.value): pytest.approx(one.cost.value, rel=1e-4) for one in found.levels
    }
    [(_, table)] = drawn.tables
    assert len(table.rows) == 6
    assert {row[7] for row in table.rows} <= {"better", "worse", "about equal"} | {
        row[7] for row in table.rows if row[7].startswith("undecided")
    }


@pytest.mark.parametrize(
    ("one", "many"),
    [("batch size", "batch sizes"), ("SSL loss", "SSL losses"), ("density", "densities"),
     ("smoothing of the minority", "smoothings of the minority")],
)  # fmt: skip
def test_more_than_one_level_has_a_plural(one, many):
    """The head of the name, not its end."""
    assert wording.plural(one) == many
