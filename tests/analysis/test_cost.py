"""The price of certainty: how many more replicates, how long they take here, and the command."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted import BATCH, RATIO, Memory, plan
from scipy import stats

from sweeper.analysis import cost as price
from sweeper.analysis.frames import load
from sweeper.analysis.intervals import mean_interval
from sweeper.analysis.planned import look_interval, stein_interval
from sweeper.analysis.stopping import PLAIN, GroupSequential, SteinTwoStage
from sweeper.analysis.stopping_text import price as price_sentence
from sweeper.analysis.verdicts import MANY, Verdict, Word, judge
from sweeper.analysis.view import view_of
from sweeper.report.page import facts
from sweeper.spec import parse
from sweeper.topics.differences import estimate as differences
from sweeper.topics.headline import text as words

X = [0.5, -1.0, 2.0, 1.5, -0.4]


def costs(rule=PLAIN, *, seconds=60.0, planned=5, going_on=False):
    return price.Costs("batch_size", planned, seconds, rule, going_on)


def priced(estimate, **given):
    verdict = judge(estimate, direction="maximize")
    assert verdict.word is Word.UNDECIDED
    return costs(**given).priced(verdict, estimate=estimate)


def said(verdict):
    return price_sentence(verdict, goal="settle it")


def test_an_undecided_verdict_carries_its_price():
    """Replicates by the formula, minutes for what is missing, and the command that adds them."""
    one = mean_interval(X)
    needed = 6
    while needed < ((stats.t.ppf(0.975, needed - 1) + 0.84) * np.std(X, ddof=1) / np.mean(X)) ** 2:
        needed += 1
    found = priced(one).price
    assert found is not None
    assert (found.more, found.replicates) == (needed - 5, needed)
    assert found.seconds == pytest.approx(60.0 * (needed - 5))
    assert found.command == f"sweeper launch batch_size --set replicates={needed}"
    assert said(priced(one)) == (
        f"About {needed - 5} more replicates would settle it: about "
        f"{needed - 5} min; `{found.command}`."
    )


def test_replicates_that_failed_are_asked_for_on_top():
    """Seven were planned and five are complete: what is missing comes after the seven."""
    found = priced(mean_interval(X), planned=7).price
    plain = priced(mean_interval(X)).price
    assert found is not None
    assert plain is not None
    assert (found.more, found.replicates) == (plain.more, plain.replicates + 2)


def test_the_command_repeats_what_was_set_otherwise_than_the_file_says():
    """Else it would launch the sweep of the file, and not this one."""
    one = mean_interval(X)
    mine = replace(costs(), overrides={"name": "mine", "train.lr": "0.2", "replicates": "5"})
    found = mine.priced(judge(one, direction="maximize"), estimate=one).price
    assert found is not None
    assert found.command == (
        "sweeper launch batch_size --set name=mine --set train.lr=0.2 "
        f"--set replicates={found.replicates}"
    )


def test_a_sweep_knows_what_was_set_otherwise_than_its_text_says():
    """The differences between the text of the spec and the spec that ran."""
    made = plan(levels={BATCH: [2, 8]}, replicates=3)
    frames = load(Memory(made), made.sweep.name)
    text = "name: other\nscientific:\n  train.batch_size: [2, 8]\nreplicates: 3\n"
    spec = parse(text).model_dump(mode="json") | {"name": "mine"}
    changed = replace(frames, sweep=replace(frames.sweep, spec_text=text, spec=spec))
    assert view_of(changed).costs.overrides == {"name": "mine"}


def test_without_a_time_none_is_told():
    """Nothing was timed: the replicates and the command stand alone."""
    assert " h;" not in said(priced(mean_interval(X), seconds=None))


def test_two_stages_ask_for_a_narrower_target():
    """The target and the cap that would find a change of this size."""
    rule = SteinTwoStage(2.0, 20, 5, "points", {})
    one = stein_interval(X, first=X, half_width=2.0)
    found = priced(one, rule=rule).price
    assert found is not None
    wide, near = stats.t.ppf([0.975, 0.8], 4)
    half = np.mean(X) / (1 + near / wide)
    assert f"--set replicates.target={half / 100:.2g} " in found.command
    assert f"--set replicates.max={found.replicates}" in found.command


def test_after_the_last_look_more_is_but_a_hint():
    """The error is spent; while looks are left, the plan itself asks for more."""
    one = look_interval(X, looks=2, at=2)
    rule = GroupSequential((3, 5), (3, 5), 5)
    assert "beyond the planned looks" in said(priced(one, rule=rule))
    assert said(priced(one, rule=rule, going_on=True)) == ""


def test_a_decided_verdict_has_no_price():
    """A difference without a number of replicates has no cost either."""
    sure = Verdict(Word.BETTER)
    assert costs().priced(sure, estimate=mean_interval(X)) == sure


def moments(*minutes):
    return pd.Series([pd.Timestamp("2026-11-24T09:00") + pd.Timedelta(m, "min") for m in minutes])


@pytest.mark.parametrize(
    ("started", "ended", "expected"),
    [
        ((0, 10), (10, 20), 1.0),  # one after the other
        ((0, 0), (10, 10), 2.0),  # side by side
        ((0, 0, 100), (10, 10, 120), 4 / 3),  # a pause between two launches is nobody's work
        ((0, 2), (10, 4), 1.2),  # one within the other
        ((0,), (0,), 1.0),
    ],
)
def test_workers_are_counted_while_any_works(started, ended, expected):
    """All training time, divided by the time in which at least one worker trained."""
    assert price.busy(moments(*started), moments(*ended)) == pytest.approx(expected)


def test_members_of_a_pack_take_the_same_seconds_once():
    """Two packs of three runs, 60 s each, side by side: a block of both cells takes 20 s."""
    made = plan(levels={BATCH: [2, 8]}, replicates=3)
    frames = load(Memory(made), made.sweep.name)
    begin = pd.Timestamp("2026-11-24T09:00")
    rows = [
        {"run_id": run, "pack_id": pack, "number": 1, "seconds": 60.0, "started_at": begin,
         "ended_at": begin + pd.Timedelta(60, "s")}
        for pack, runs in enumerate(np.array_split(frames.runs.index, 2)) for run in runs
    ]  # fmt: skip
    timed = replace(frames, attempts=pd.DataFrame(rows))
    assert price.block_seconds(timed) == pytest.approx(60.0 * 2 / 2 / 3)
    assert price.block_seconds(frames) is None, "nothing was timed"


def packed(frames, *, seconds, members, alone, ending="complete"):
    """The runs of a sweep as packs of `members`, each of which the probe priced at `seconds`."""
    groups = np.array_split(frames.runs.index, len(frames.runs) // members)
    rows = [
        {"run_id": run, "pack_id": pack, "number": 1, "seconds": 0.0, "ending": ending}
        for pack, runs in enumerate(groups)
        for run in runs
    ]
    packs = pd.DataFrame({"key": "k", "seconds": seconds}, index=range(len(groups)))
    sweep = replace(frames.sweep, provenance={"seconds_alone": alone})
    return replace(frames, attempts=pd.DataFrame(rows), packs=packs, sweep=sweep)


def test_what_fused_training_gains_is_measured_against_runs_one_by_one():
    """Three runs of 10 s each, done in 12 s as one pack: 2.5 times as fast."""
    made = plan(levels={BATCH: [2, 8]}, replicates=3)
    frames = load(Memory(made), made.sweep.name)
    fused = packed(frames, seconds=12.0, members=3, alone={"k": 10.0})
    assert price.fused_gain(fused) == pytest.approx(2.5)
    assert ("fused training", "2.5 times as fast (probe)") in facts(fused)
    for other in (
        packed(frames, seconds=12.0, members=3, alone={}),
        packed(frames, seconds=12.0, members=1, alone={"k": 10.0}),
        packed(frames, seconds=12.0, members=3, alone={"k": 10.0}, ending="crashed"),
    ):
        assert price.fused_gain(other) is None


def test_every_undecided_line_of_a_report_says_its_price():
    """No effect anywhere: headline, levels and interaction each with a command, by the file."""
    made = plan(levels={BATCH: [2, 8, 32], RATIO: [1.0, 0.05]}, truth=lambda _: 0.8, seed=2)
    frames = load(Memory(made), made.sweep.name)
    sweep = replace(frames.sweep, provenance={"spec_file": "my spec.yaml"})
    found = view_of(replace(frames, sweep=sweep))
    undecided = [
        v
        for one in found.of(differences.build).primary
        for v in one.verdicts
        if v.word is Word.UNDECIDED
    ]
    assert undecided
    assert all(v.price is not None for v in undecided if v.needed)
    text = " ".join([*words.lead(found).more, *(one.text for one in words.lines(found))])
    assert "sweeper launch 'my spec.yaml' --set replicates=" in text


def test_a_number_of_replicates_that_nobody_would_run_is_not_offered():
    """Far too many replicates: the text has the number for the smallest effect, and no command."""
    tiny = mean_interval(np.asarray(X) - np.mean(X) + 0.02 * np.std(X))
    near, far = priced(mean_interval(X)), priced(tiny)
    assert near.price is not None
    assert far.price is not None
    assert far.price.more > MANY
    assert said(far) == f"It would take about {far.price.more:,} more replicates to settle it."
