"""The page on best levels and on what each factor explains: what is there, and what never is."""

import math

import planted
import pytest

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.topics.anova import section as anova
from sweeper.topics.best_levels import section as best
from sweeper.topics.importance import section as importance
from sweeper.topics.registry import TOPICS
from sweeper.topics.response import estimate as response

RANGES = {"train.weight_decay": {"low": 0.01, "high": 1.0, "log": True},
          planted.BATCH: [2, 8, 32]}  # fmt: skip


def read(**settings):
    plan = planted.plan(epochs=1, **settings)
    if settings.get("method") == "random":
        plan.sweep.spec["scientific"] = dict(RANGES)
    frames = load(planted.Memory(plan), plan.sweep.name)
    return view_of(frames)


def shown(topic, found):
    """The section of a topic, which must be there."""
    section = topic.section(found)
    assert section is not None
    return section


def drawn(truth, **settings):
    cells = [
        {"train.weight_decay": 10 ** (-2 + 2 * at / 23), planted.BATCH: [2, 8, 32][at % 3]}
        for at in range(24)
    ]
    return read(levels=RANGES, cells=cells, method="random", truth=truth, replicates=3,
                noise=0.004, **settings)  # fmt: skip


@pytest.fixture(scope="module")
def grid():
    return read(noise=0.004)


def test_every_topic_has_its_place_on_the_page():
    """The sections are built by the page."""
    assert {best.section, anova.section, importance.section} <= {one.section for one in TOPICS}


def test_levels_have_a_figure_a_choice_and_a_row_a_pair(grid):
    """What may be best and what is beaten are together all levels; a condition has none."""
    one = shown(best, grid)
    [figure] = one.figures
    assert figure.id == f"best-{planted.BATCH}"
    stay, gone = figure.data
    assert sorted(stay["y"] + gone["y"], key=int) == ["2", "8", "32", "128"]
    [(label, table)] = one.tables
    assert label == "The numbers"
    assert len(table.rows) == 4 * 3 / 2
    assert {row[0] for row in table.rows} == {"batch size"}
    assert "better" in {row[7] for row in table.rows}
    assert all(len(row) == len(table.head) for row in table.rows)


def test_no_mean_of_a_winner_is_claimed(grid):
    """Neither words nor table hold the mean of a level."""
    found = grid
    one = shown(best, found)
    text = one.intro + " ".join(cell for _, table in one.tables for row in table.rows
                                 for cell in row)  # fmt: skip
    means = found.of(response.build).curve[
        found.of(response.build).curve["measure"] == found.objective.name
    ]["mean"]
    assert not any(f"{mean:.1f}" in text for mean in means)


def test_sizes_have_intervals_and_shares_have_none(grid):
    """A share's interval would hold it in 56 to 96 % only."""
    found = grid
    shares, sizes = shown(anova, found).figures
    assert "error_x" not in shares.data[0]
    bars = sizes.data[0]["error_x"]
    for at, effect in enumerate(found.of(anova.build).effects):
        low, high = (100 * bound / (1 + bound) for bound in (effect.size.low, effect.size.high))
        value = sizes.data[0]["x"][at]
        assert value - bars["arrayminus"][at] == pytest.approx(low, abs=0.01)
        assert value + bars["array"][at] == pytest.approx(high, abs=0.01)
    assert sum(shares.data[0]["x"]) == pytest.approx(100, abs=0.01)


def test_the_exact_table_names_method_n_and_families(grid):
    """Every p beside its family, every interval with its law and n."""
    found = grid
    [(_, table)] = shown(anova, found).tables
    assert [row[7] for row in table.rows] == ["2 (Holm)", "2 (Holm)", "1 (Benjamini-Hochberg)"]
    assert "noncentral F interval" in table.note
    assert "5 complete replicates as blocks, 8 cells" in table.note


def test_what_is_withheld_is_said_and_not_drawn():
    """A sentence, and neither figure nor table."""
    for found, topic in ((read(replicates=2), anova), (drawn(planted.flat), importance)):
        one = topic.section(found)
        assert one.intro
        assert (one.figures, one.tables) == ((), ())


def test_importance_is_labelled_in_figure_and_table():
    """Model-based, no interval, and what the model is worth."""
    found = drawn(lambda f: 0.8 + 0.05 * math.log10(f["train.weight_decay"]))
    one = shown(importance, found)
    assert "model-based, no interval" in one.figures[0].title
    [(_, table)] = one.tables
    assert {row[-1] for row in table.rows} == {"model-based, no interval"}
    assert table.head[5] == "variance predicted"
    assert table.rows[0][0] == "weight decay"


def test_a_grid_and_drawn_cells_each_have_one_of_the_two(grid):
    """The exact table where it can be made, a model where not."""
    found = grid
    assert importance.section(found) is None
    found = drawn(planted.flat)
    assert anova.section(found) is None
    assert best.section(found) is None
