"""Model-based importance: closed-form indices as oracle, blocks, encoding, when it is withheld."""

import math

import numpy as np
import pandas as pd
import planted
import pytest
from scipy.stats import qmc

from sweeper.analysis.factors import Factor
from sweeper.analysis.frames import load
from sweeper.analysis.measures import Measure
from sweeper.analysis.view import view_of
from sweeper.analysis.withheld import Withheld
from sweeper.topics.anova import estimate as anova
from sweeper.topics.importance import estimate as importance
from sweeper.topics.importance import text as importance_text
from sweeper.topics.importance.estimate import Importance, cross_validated, model_for, scale, sobol

ACCURACY = Measure("accuracy", "accuracy", ("test", "accuracy", ""), "points", "maximize")
RATE, WIDTH, WORD = "train.weight_decay", "train.width", "train.augmentation"


def linear(name, low=0.0, high=1.0):
    factor = Factor(f"train.{name}", name, (low, (low + high) / 2, high), "linear", low)
    return scale(factor, written={"low": low, "high": high})


def test_indices_of_a_known_function_are_its_closed_form():
    """Ishigami (Saltelli et al. 2000): a = 7, b = 0.1, on -pi to pi."""
    a, b = 7.0, 0.1
    one = (1 + b * math.pi**4 / 5) ** 2 / 2
    two, both = a**2 / 8, b**2 * math.pi**8 * (1 / 18 - 1 / 50)
    whole = one + two + both

    def ishigami(x):
        u = (2 * x - 1) * math.pi
        return np.sin(u[:, 0]) + a * np.sin(u[:, 1]) ** 2 + b * u[:, 2] ** 4 * np.sin(u[:, 0])

    alone, total = sobol(ishigami, scales=[linear(name) for name in "abc"])
    assert alone == pytest.approx([one / whole, two / whole, 0.0], abs=0.02)
    assert total == pytest.approx([(one + both) / whole, two / whole, both / whole], abs=0.02)


def test_levels_in_words_are_drawn_evenly():
    """y = 1 for one word in four, and a coin: the variances are 3/16 and 1/4, exactly."""
    word = Factor(WORD, "augmentation", ("none", "flip", "crop", "mixup"), "category", "none")
    coin = Factor("train.coin", "coin", (0, 1), "linear", 0)
    scales = [scale(word, written=list(word.levels)), scale(coin, written=[0, 1])]
    alone, total = sobol(lambda x: x[:, 3] + x[:, 4], scales=scales)
    expected = [(3 / 16) / (7 / 16), (1 / 4) / (7 / 16)]
    assert alone == pytest.approx(expected, abs=0.02)
    assert total == pytest.approx(expected, abs=0.02)


def test_a_listed_factor_is_drawn_at_its_levels_and_a_range_over_itself():
    """Batch sizes of a list are discrete on a log scale; a range reaches its own ends."""
    batch = Factor("train.batch_size", "batch size", (2, 8, 128), "log2", 8)
    listed = scale(batch, written=[2, 8, 128])
    drawn = listed.draw(np.array([0.0, 0.34, 0.99, 1.0]))
    assert drawn.ravel() == pytest.approx([0, 1 / 3, 1, 1])
    rate = Factor(RATE, "weight decay", (0.02, 0.5), "log2", 0.02)
    wide = scale(rate, written={"low": 0.01, "high": 1.0, "log": True})
    assert (wide.low, wide.high) == pytest.approx((math.log2(0.01), 0.0))
    assert wide.encode([0.1]).item() == pytest.approx(0.5)


def test_a_cell_is_not_worse_for_lacking_a_lucky_replicate():
    """Offsets of replicates are taken out before cells are averaged: exact without noise."""
    truth, offsets = np.array([1.0, 2.0, 3.0, 4.0]), np.array([-5.0, 0.0, 5.0])
    y = pd.DataFrame(truth[:, None] + offsets)
    y.iloc[0, 2] = y.iloc[1, 0] = math.nan
    y.loc[4] = math.nan
    means = importance.without_blocks(y)
    assert list(means.index) == [0, 1, 2, 3]
    assert (means - means.mean()).to_numpy() == pytest.approx(truth - truth.mean(), abs=1e-6)


def test_a_model_of_noise_predicts_nothing():
    """R2 of unseen cells is about 0 or below, however well the model fits what it saw."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(size=(40, 3)), rng.normal(size=40)
    for cells in (40, 1000):  # the process, and the forest
        assert cross_validated(model_for(cells, columns=3)[1], x, y) < 0.2


def cells_of(count, seed=0):
    """Sobol points of a rate, a width, a batch size and a word."""
    u = qmc.Sobol(4, rng=seed).random(count)
    words = ["none", "flip", "mixup"]
    return [
        {RATE: float(10 ** (-2 + 2 * a)), WIDTH: 1 + int(8 * b),
         planted.BATCH: [2, 8, 32][int(3 * c)], WORD: words[int(3 * d)]}
        for a, b, c, d in u
    ]  # fmt: skip


LEVELS = {
    RATE: {"low": 0.01, "high": 1.0, "log": True},
    WIDTH: {"low": 1, "high": 8},
    planted.BATCH: [2, 8, 32],
    WORD: ["none", "flip", "mixup"],
}


def answer(truth, count=32, **settings):
    plan = planted.plan(levels=LEVELS, cells=cells_of(count), truth=truth, replicates=3,
                        method="qmc", epochs=2, **settings)  # fmt: skip
    # The plan writes levels as lists; a range is a mapping.
    plan.sweep.spec["scientific"] = dict(LEVELS)
    return view_of(load(planted.Memory(plan), plan.sweep.name))


def curved(factors):
    rate = math.log10(factors[RATE]) + 1  # -1 to 1
    return 0.8 - 0.15 * rate**2 - 0.03 * (factors[WORD] == "mixup")


@pytest.fixture(scope="module")
def found():
    return answer(curved, noise=0.005)


def test_the_planted_order_is_found(found):
    """A rate that bends the curve first, a word second, two null factors near 0."""
    one = found.of(importance.build)
    assert isinstance(one, Importance)
    assert [share.factor.path for share in one.shares[:2]] == [RATE, WORD]
    whole = 0.15**2 * 4 / 45 + 0.03**2 * 2 / 9
    assert one.shares[0].total == pytest.approx(0.15**2 * 4 / 45 / whole, abs=0.06)
    assert all(share.total < 0.05 for share in one.shares[2:])
    assert (one.method, one.n, one.family) == ("model-based, no interval", 3, 1)
    assert one.r2 > 0.8


def test_it_is_told_with_what_the_model_is_worth(found):
    """The model, its cells, its R2, and that there is no interval."""
    told = " ".join(importance_text.important(found.of(importance.build)))
    assert told.startswith("Weight decay matters most: ")
    assert "a Gaussian process says that was fitted to 32 cells" in told
    assert told.endswith("There is no interval.")
    rows = importance.rows(found.of(importance.build))
    assert list(rows["factor"][:2]) == [RATE, WORD]
    assert set(rows["method"]) == {"model-based, no interval"}


def test_the_same_cells_give_the_same_indices(found):
    """Nothing is left to chance: folds, design and model are seeded."""
    assert answer(curved, noise=0.005).of(importance.build) == found.of(importance.build)


def test_a_model_that_knows_little_is_withheld():
    """No factor does anything: no index is shown."""
    one = answer(planted.flat).of(importance.build)
    assert isinstance(one, Withheld)
    assert "cannot be told from these cells" in one.reason
    assert list(importance.rows(one)["withheld"]) == [one.reason]


def test_too_few_cells_are_withheld():
    """Four a factor at least."""
    one = answer(curved, count=8).of(importance.build)
    assert isinstance(one, Withheld)
    assert one.reason.startswith("8 cells with complete runs are too few")


def test_equal_cells_are_withheld():
    """No variance, nothing to share out."""
    one = answer(lambda _: 0.0, noise=0.0).of(importance.build)
    assert isinstance(one, Withheld)
    assert "the same mean" in one.reason


def test_a_grid_has_the_exact_table_instead():
    """One or the other."""
    plan = planted.plan(epochs=2)
    found = view_of(load(planted.Memory(plan), plan.sweep.name))
    assert found.of(importance.build) is None
    assert found.of(anova.build) is not None
