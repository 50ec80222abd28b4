"""One report of several sweeps: whether they agree, what counts as a task, what is refused."""

import json
import math
import re

import planted
import pytest
from scipy import stats

from sweeper.analysis.frames import load
from sweeper.cli.app import run
from sweeper.errors import InputError
from sweeper.report import archive as carry
from sweeper.report import page, verify
from sweeper.report import several_page as report
from sweeper.states import Ending
from sweeper.store.store import Store
from sweeper.topics.across import estimate as across
from sweeper.topics.across import section as across_report
from sweeper.topics.differences import estimate as differences
from sweeper.topics.several import estimate as several
from sweeper.topics.several import text as words_several

BATCH = {planted.BATCH: [2, 8, 32]}
WORDS = {"train.augmentation": ["none", "mixup"]}


def sloped(slope):
    """Minority accuracy by so much a doubling of the batch size."""
    return lambda factors: 0.8 + slope * (math.log2(factors[planted.BATCH]) - 3)


def sweep(name, slope, *, data="digits", steps=None, seed=0, **settings):
    settings = {"levels": BATCH, "epochs": 3, "noise": 0.006, "truth": sloped(slope)} | settings
    one = planted.plan(name=name, seed=seed, **settings)
    one = planted.elsewhere(one, data=data, steps=steps)
    return load(planted.Memory(one), name)


def found(*frames):
    several.check(frames)
    return several.build(frames)


def p_beaten(frames):
    """The smallest p with which another level is better than each, times twice the pairs."""
    y = frames.numbers[("test", "minority_accuracy", "")] * 100
    runs = frames.runs.loc[y.index]
    level = runs["cell"].map(lambda cell: frames.cells["factors"][cell][planted.BATCH])
    table = y.groupby([level, runs["replicate"]]).first().unstack()
    pairs = len(table) * (len(table) - 1) // 2
    return {
        one: min(
            pairs
            * 2
            * stats.ttest_rel(table.loc[other], table.loc[one], alternative="greater").pvalue
            for other in table.index
            if other != one
        )
        for one in table.index
    }


def test_sweeps_that_agree_are_said_to():
    """All fall: the level that is best, and those that are beaten, in one breath."""
    one = found(
        sweep("a", -0.03), sweep("b", -0.01, data="letters", seed=1),
        sweep("c", -0.02, data="shuttle", seed=2),
    )  # fmt: skip
    assert words_several.headline(one) == (
        "Batch size 2 is best in all 3 sweeps. Batch sizes 8 and 32 are beaten in all 3 sweeps."
    )


def test_the_verdicts_of_the_table_are_those_of_scipy():
    """A level is beaten where one of all paired t tests, Bonferroni over the pairs, says so."""
    frames = [
        sweep("a", -0.03),
        sweep("b", -0.004, data="letters", seed=1),
        sweep("c", 0.0, data="shuttle", seed=2, noise=0.05),
    ]
    one = found(*frames)
    p = {frame.sweep.name: p_beaten(frame) for frame in frames}
    seen = set()
    for row in one.shared[0].rows:
        assert row.level is not None
        lost = bool(p[row.member.name][row.level.value] < 0.05)
        assert (words_several.badge(row) == "beaten") is lost
        seen.add(words_several.badge(row))
    assert seen == {"best", "beaten", "may be best"}


def test_an_answer_that_depends_on_the_budget_is_said_to():
    """One data set by epochs and by updates: the budget is named, not the data."""
    one = found(sweep("e", -0.02), sweep("u", 0.02, steps=60, seed=1))
    assert words_several.headline(one) == (
        "Which batch size to take depends on the budget: batch size 2 is best at 3 epochs; "
        "batch size 32 is best at 60 updates. Batch size 8 is beaten in both sweeps."
    )
    assert one.tasks == 1
    assert one.members[1].budget == "60 updates"


def test_budget_and_data_that_change_together_are_not_told_apart():
    """Another data set under another budget: the sweeps disagree, nobody knows why."""
    one = found(sweep("e", -0.02), sweep("u", 0.02, steps=60, data="letters", seed=1))
    assert words_several.headline(one).startswith(
        "The sweeps do not agree: batch size 2 is best in e; batch size 32 is best in u."
    )


def test_an_undecided_sweep_is_no_disagreement():
    """Two have one best level, the third rules none out: that level may be best in all."""
    one = found(
        sweep("a", -0.02), sweep("b", -0.02, data="letters", seed=1),
        sweep("c", 0.0, data="shuttle", seed=2, noise=0.05),
    )  # fmt: skip
    assert words_several.headline(one) == (
        "Batch size 2 may be best in all 3 sweeps; 8 and 32 also in c."
    )


def test_sweeps_that_decide_nothing_rule_nothing_out():
    """No level is said to be better than another."""
    one = found(*(sweep(name, 0.0, data=name, noise=0.05) for name in "ab"))
    assert words_several.headline(one) == "No sweep rules out any of batch sizes 2, 8 and 32."


def test_a_sweep_without_runs_has_no_verdict():
    """The sweep stands in the table, and the page describes the other sweeps."""
    none = {(cell, r): (None, "") for cell in range(3) for r in range(5)}
    one = found(sweep("a", -0.02), sweep("b", -0.02, data="letters", failures=none))
    assert words_several.headline(one) == (
        "Only a compares levels: batch size 2 is best. Batch sizes 8 and 32 are beaten there. "
        "No comparison in b."
    )
    assert "no comparison" in report.html([member.frames for member in one.members])


def test_sweeps_without_a_common_level_are_not_compared():
    """2, 8 and 32 here, 4 and 16 there."""
    other = {planted.BATCH: [4, 16]}
    one = found(sweep("a", -0.02), sweep("b", -0.02, data="letters", levels=other))
    assert words_several.headline(one) == "The sweeps have no level of batch size in common."


def test_a_condition_has_no_best_level():
    """A sweep of train ratios alone: told as what it is."""
    ratios = {"levels": {planted.RATIO: [1.0, 0.05]}, "truth": planted.headline}
    one = found(*(sweep(name, 0.0, data=name, **ratios) for name in "ab"))
    assert words_several.headline(one) == (
        "Train ratio is a condition, not a choice: no level of it is best."
    )
    assert {words_several.badge(row) for row in one.shared[0].rows} == {"no comparison"}


def test_conditions_that_differ_are_named():
    """Each sweep compares levels at its own strongest imbalance."""
    both = [{**BATCH, planted.RATIO: [1.0, ratio]} for ratio in (0.05, 0.1)]
    one = found(
        *(
            sweep(name, -0.02, data=name, levels=levels)
            for name, levels in zip("ab", both, strict=True)
        )
    )
    assert words_several.more(one)[0] == (
        "Levels are compared under different conditions: train ratio 0.05 in a and train ratio "
        "0.1 in b."
    )
    assert words_several.conditions(
        found(*(sweep(n, -0.02, data=n, levels=both[0]) for n in "ab")).shared[0]
    ) == ("Levels are compared at train ratio 0.05.")


def test_few_replicates_only_suggest():
    """Three replicates: no level is called the best, and the page says why."""
    one = found(*(sweep(name, -0.02, data=name, replicates=3, noise=0.001) for name in "ab"))
    assert words_several.headline(one).startswith("Batch size 2 may be best in both sweeps.")
    assert {words_several.badge(row) for row in one.shared[0].rows} == {
        "suggests best",
        "suggests beaten",
    }
    assert words_several.firmness(one.shared[0]).endswith("at best suggestive: a, b.")


def test_levels_in_words_keep_the_name_of_their_factor():
    """`none` alone would say nothing."""

    def truth(factors):
        return 0.7 + 0.06 * (factors["train.augmentation"] == "mixup")

    one = found(*(sweep(name, 0, data=name, levels=WORDS, truth=truth, seed=seed)
                  for seed, name in enumerate("ab")))  # fmt: skip
    assert words_several.headline(one) == (
        "Augmentation mixup is best in both sweeps. Augmentation none is beaten in both sweeps."
    )


def test_a_data_set_counts_once_under_each_unit():
    """Five data sets by epochs and one of them by updates: n is 5, and the second budget is out."""
    frames = [sweep(f"e{at}", -0.02, data=f"d{at}", seed=at) for at in range(5)]
    frames += [sweep("again", -0.02, data="d0", seed=8), sweep("u", 0.02, data="d1", steps=60)]
    one = found(*frames)
    over = one.shared[0].over
    assert list(over) == ["epochs"]
    assert over["epochs"].tasks == ("e0", "e1", "e2", "e3", "e4")
    standing = over["epochs"].standings[0]
    assert standing.difference is not None
    assert standing.difference.n == 5
    assert standing.difference.known


def test_five_data_sets_have_a_performance_profile():
    """A figure with steps, its table, and what the score is; four have none of it."""
    frames = [sweep(f"e{at}", -0.02, data=f"d{at}", seed=at) for at in range(5)]
    told = across_report.section(one := found(*frames), one.shared[0], at=0)
    assert told is not None
    drawn = told.figures[-1]
    assert [trace["line"]["shape"] for trace in drawn.data] == ["vh"] * 3
    assert all(trace["y"][0] == 100 for trace in drawn.data)
    assert all(trace["y"] == sorted(trace["y"], reverse=True) for trace in drawn.data)
    label, table = told.tables[-1]
    assert label == "Performance profiles, by epochs"
    assert {len(row) for row in table.rows} == {4}
    assert "as it is, not scaled" in told.intro
    few = across_report.section(one := found(*frames[:4]), one.shared[0], at=0)
    assert few is not None
    assert not [name for name, _ in few.tables if "profiles" in name]


def test_the_distance_of_two_sweeps_is_welchs_or_paired():
    """As scipy has them: independent for other data, within replicates for the same."""
    one, two = {0: 1.0, 1: 1.4, 2: 0.7, 3: 1.2}, {0: 2.0, 1: 2.9, 2: 2.1, 4: 2.2, 5: 3.0}
    a, b = list(one.values()), list(two.values())
    oracle = stats.ttest_ind(a, b, equal_var=False)
    apart = across.apart(one, two, paired=False, family=3)
    low, high = oracle.confidence_interval(1 - 0.05 / 3)
    assert (apart.low, apart.high) == (pytest.approx(low), pytest.approx(high))
    assert apart.p == pytest.approx(oracle[1])
    same = across.apart(one, two, paired=True, family=1)
    assert same.p == pytest.approx(stats.ttest_rel(a[:3], b[:3])[1])


def test_the_intervals_are_those_of_each_sweeps_own_report():
    """Side by side, a difference is what the sweep's own page says."""
    one = found(sweep("a", -0.03), sweep("b", -0.01, data="letters", seed=1))
    side = one.shared[0].side
    assert side is not None
    for member in one.members:
        effect = member.view.of(differences.build).primary[0]
        own = [difference.estimate for difference in effect.differences]
        assert [other.estimate for other in side.differences[member.name]] == own


def test_the_page_is_a_function_of_its_data(tmp_path, capsys):
    """Byte for byte; a changed number is found, and a cut block refused."""
    frames = [sweep("a", -0.03), sweep("b", -0.01, data="letters", seed=1)]
    text = report.html(frames)
    out = tmp_path / "page.html"
    out.write_text(text, encoding="utf-8", newline="")
    assert verify.verify(out).same
    assert run(["verify", str(out)]) == 0
    capsys.readouterr()
    changed = text.replace("is best in both sweeps", "is best in no sweep")
    out.write_text(changed, encoding="utf-8", newline="")
    assert [one.where for one in verify.verify(out).differences] == ["The answer"]
    assert json.loads(text.split('id="manifest">')[1].split("</script>")[0])["sweeps"][1]["sweep"]


def test_a_block_of_several_gives_back_each():
    """The blocks come back as they went in; anything else is refused."""
    held = [carry.dump(sweep("a", -0.03)), carry.dump(sweep("b", -0.01))]
    block = carry.dump_all(held)
    assert carry.holds_several(block)
    assert not carry.holds_several(held[0])
    assert carry.split(block) == held
    for broken in (block[:-40], held[0], b"", carry.dump_all(held[:1])):
        with pytest.raises(carry.CarryError):
            carry.split(broken)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A database of five sweeps."""
    place = tmp_path_factory.mktemp("several")
    small = {"epochs": 2, "replicates": 3, "levels": BATCH}
    with Store.open(f"sqlite:///{place / 'sweeper.db'}", create=True) as store:
        for name, settings in {
            "first": {}, "second": {"seed": 1}, "other": {"levels": WORDS, "truth": planted.flat},
            "loss": {"metric": "loss"}, "failed": {"failures": {(0, 0): (Ending.DIVERGED, "nan")}},
        }.items():  # fmt: skip
            planted.fill(store, planted.plan(name=name, **{**small, **settings}))
    return place


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["first", "secnd"], r"no sweep named 'secnd' in this database; did you mean 'second'\?"),
        (["first", "first"], r"'first' is named more than once"),
        (["first", "other"], r"no factor in common \(first: train.batch_size; other: train.aug"),
        (["first", "loss"], r"maximize minority_accuracy in first, minimize loss in loss"),
        (["first", "second", "--figures", "pdf"], r"--figures is for the report of one sweep"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(arguments, expected, folder, capsys):
    """Exit 2, and nothing is written."""
    url = f"sqlite:///{folder / 'sweeper.db'}"
    out = folder / "wrong.html"
    assert run(["report", *arguments, "--storage", url, "--out", str(out)]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert re.search(expected, line)
    assert not out.exists()


def test_several_names_make_one_page(folder, capsys):
    """It is a Sweeper report, carries all sweeps, and passes `sweeper verify`."""
    url, out = f"sqlite:///{folder / 'sweeper.db'}", folder / "all.html"
    names = ["first", "second", "failed"]
    assert run(["report", *names, "--storage", url, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert page.is_report(out)
    assert run(["verify", str(out)]) == 0
    assert all(name in out.read_text(encoding="utf-8") for name in names)


def test_sweeps_of_one_objective_each_way_are_refused():
    """To maximize here and to minimize there is not one objective."""
    one, two = sweep("a", -0.02), sweep("b", -0.02)
    two.sweep.spec["objective"] = {**two.sweep.spec["objective"], "direction": "minimize"}
    with pytest.raises(InputError, match="one objective"):
        several.check([one, two])
