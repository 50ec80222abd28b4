"""Where error bars come from, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.analysis.factors import show
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, joined, number
from sweeper.topics.variance_sources.estimate import Bar, SourceShare, VarianceSources, build

OWNERS = {
    "minority_accuracy": "the minority has",
    "majority_accuracy": "the majority has",
    "gap": "the two groups have",
}


def parts(found: VarianceSources) -> Iterator[str]:
    """What gives the error, whether replicates can still help, and what fades on new data."""
    yield from (_dominated(one, thing=found.thing) for one in found.shares if one.of_test_set)
    yield from _fading([one for one in found.differences if one.fades])
    if found.left_out:
        yield (
            f"Not taken apart: {joined(found.left_out)}, which "
            f"{'is' if len(found.left_out) == 1 else 'are'} no mean over {found.thing}."
        )
    if found.without:
        yield (
            f"{found.without} complete runs have no usable record of single answers and are "
            "left out here."
        )


def finding(found: VarianceSources) -> str:
    """What gives the error of the first measure that is taken apart."""
    one = found.shares[0]
    of = "" if one.of == "means" else "differences in "
    by_runs, by_test, by_answers = map(percent, one.parts)
    return (
        f"The error of {of}{one.measure.title}: {by_runs} from runs, {by_test} from the test set, "
        f"{by_answers} from single answers."
    )


def runs(found: VarianceSources, *, name: str) -> str:
    """Why runs differ, and how to separate the draw of the subset from other causes."""
    if not found.redrawn:
        return (
            "All replicates train on the same samples: runs differ in their initialisation and in "
            "the order of the data."
        )
    return (
        "Runs differ in the draw of the training subset, in their initialisation and in the order "
        "of the data, all drawn anew in each replicate. A second sweep tells the draw from the "
        "rest: launch the spec again with "
        f"`--set name={name}-fixed --set data.imbalance.draw=fixed`, then "
        f"`sweeper report {name} {name}-fixed`."
    )


def _dominated(one: SourceShare, *, thing: str) -> str:
    """`For new data, more replicates will not help minority accuracy much: ... 12 test images.`

    Another question than the price at the top, which is about this test set.
    """
    unit = one.measure.unit
    owner = OWNERS.get(one.measure.name, "the test split has")
    of = "" if one.of == "means" else "differences in "
    now, endless = number(one.now, unit=unit), number(one.endless, unit=unit)
    return (
        f"For new data, more replicates will not help {of}{one.measure.title} much: {owner} "
        f"{one.examples} {thing}, which give {percent(one.parts[1])} of the error. The widest "
        f"interval for new data is \N{PLUS-MINUS SIGN}{now} {unit}; endless replicates would leave "
        f"\N{PLUS-MINUS SIGN}{endless}. More test data would help."
    )


def _fading(bars: Sequence[Bar]) -> Iterator[str]:
    """The differences that hold for this test set and may be 0 on new data."""
    named = [_named(one) for one in bars]
    if named:
        yield f"Clear on this test set, but perhaps 0 on new data: {joined(named)}."


def _named(one: Bar) -> str:
    where = f" at {one.held.name} {show(one.at)}" if one.held is not None else ""
    name = one.factor.name if one.factor is not None else ""
    return f"{name} {show(one.level)} against {show(one.reference)}{where} in {one.measure.title}"


def percent(share: float) -> str:
    return f"{100 * share:.0f}{FIXED}%" if share == share else "n/a"


def methods(view: SweepView) -> Iterator[str]:
    """The sentences for the methods paragraph; none where the page shows nothing of it."""
    found = view.of(build)
    if found and any(one.outer.known for one in (*found.cells, *found.differences)):
        yield (
            "The spread between runs is largely that of a finite test set (Jordan, 2023), so "
            "intervals for new data stand beside those for this test set. Their variance is that "
            "over runs plus that over test examples, less the residual that both contain, from "
            "each run's answer to each example; degrees of freedom are approximate "
            "(Satterthwaite, 1946)."
        )
