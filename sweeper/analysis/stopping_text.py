"""How many replicates there are and why, and what more of them would cost, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeper.analysis.stopping import Fixed, Rule, SteinTwoStage, planned_before, stopped
from sweeper.analysis.verdicts import MANY, Verdict, cost_of, needed_sentence
from sweeper.store.records import Sweep


def plan(sweep: Sweep, *, replicates: int) -> Iterator[str]:
    """The rule that stopped the sweep, and whether its intervals are surer than they should be."""
    text = stopped(sweep)
    if text:
        yield f"How many replicates: {text}."
    before = sorted({n for n in planned_before(sweep) if n < replicates})
    if before:
        listed = " and ".join(map(str, before))
        yield (
            f"This sweep could be looked at with {listed} replicates before more were added. If "
            "what was seen then led to more, its intervals are a little too sure; planned looks "
            "(`replicates: {looks: [5, 10, 20]}`) are not."
        )


def plain(rule: Rule) -> str:
    """A remark on intervals that ignore the plan for replicates; empty where there is no plan.

    Means, sizes and what is exploratory are as if the number had been fixed. Differences, trends
    and the sets of best levels follow the plan.
    """
    if isinstance(rule, Fixed):
        return ""
    plan = (
        f"the number of replicates followed from the spread of the first {rule.start}"
        if isinstance(rule, SteinTwoStage)
        else "whether more replicates were added followed from looks at the differences"
    )
    return (
        f"Not corrected for the plan: {plan}, and intervals here are as if it had been fixed. Read "
        "them as exploratory."
    )


def settling(judged: Sequence[tuple[str, Verdict]]) -> str:
    """What would decide the undecided ones of several levels, each with its label; may be empty."""
    priced = [(one.price, label, one) for label, one in judged if one.price is not None]
    found = sorted((one for one in priced if one[0].more <= MANY), key=lambda one: one[0].more)
    if not found or len(priced) == 1:
        few = min(priced, key=lambda one: one[0].more, default=None)
        return needed_sentence(few[2]) if few else ""
    (least, first, _), (most, last, _) = found[0], found[-1]
    if first == last or least.more == most.more:
        which = first if first == last else "them"
        return f"About {most.more} more replicates would decide {which}{cost_of(most)}"
    return (
        f"About {least.more} more replicates would decide {first}, about {most.more} also {last}"
        f"{cost_of(most)}"
    )
