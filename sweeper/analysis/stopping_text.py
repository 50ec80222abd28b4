"""How many replicates there are and why, and what more of them would cost, in short sentences."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.analysis.stopping import Fixed, Rule, SteinTwoStage, planned_before, stopped
from sweeper.analysis.verdicts import MANY, Verdict, cost_of
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


def price(verdict: Verdict, *, goal: str) -> str:
    """`About 3 more replicates would show 8 about equal to 2: about 40 min; sweeper launch ...`"""
    price = verdict.price
    if price is None:
        return f"About {verdict.needed} replicates in all would {goal}." if verdict.needed else ""
    if price.more > MANY:
        return f"It would take about {price.more:,} more replicates to {goal}."
    count = "One more replicate" if price.more == 1 else f"About {price.more} more replicates"
    return f"{count} would {goal}{cost_of(price)}"
