"""The rules about several objectives and about constraints on outcomes."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.spec.models import ON_TEST, Screen, SpecFile
from sweeper.spec.phrases import near
from sweeper.spec.problems import Problem
from sweeper.spec.samplers import SAMPLERS
from trainers.config import OBJECTIVES


def objectives_are_several(spec: SpecFile) -> Iterator[Problem]:
    metrics = [one.metric for one in spec.objectives]
    if len(metrics) == 1:
        yield Problem(("objectives",), f"is one; write objective: {metrics[0]}")
    for at, one in enumerate(spec.objectives):
        if one.metric in metrics[:at]:
            yield Problem(("objectives", at), "is given twice", one.metric)
        if one.metric not in OBJECTIVES and "direction" not in one.model_fields_set:
            reason = f"needs a direction: {{metric: {one.metric}, direction: maximize}}"
            yield Problem(("objectives", at), reason, one.metric)
        if one.split not in (None, spec.objective.split):
            reason = f"must be {spec.objective.split} for all objectives; leave it out"
            yield Problem(("objectives", at, "split"), reason, one.split)


def constraints_name_metrics(spec: SpecFile) -> Iterator[Problem]:
    for metric in spec.constraints:
        if spec.trainer is None and metric not in OBJECTIVES:
            yield Problem(("constraints", metric), f"no such metric{near(metric, OBJECTIVES)}")
    if spec.constraints and spec.objective.split == "test":
        reason = f"{ON_TEST}, so nothing is chosen by constraints; set data.val: test or pool"
        yield Problem(("constraints",), reason)


def nothing_judges_by_one_objective(spec: SpecFile) -> Iterator[Problem]:
    """What selects by the objective alone would drop cells of the Pareto set, or allowed ones."""
    keys = [key for key in ("objectives", "constraints") if getattr(spec, key)]
    if not keys:
        return
    both = " and ".join(keys)
    if spec.pruner.method != "none":
        reason = f"judges cells by one objective alone, which does not fit {both}; use none"
        yield Problem(("pruner", "method"), reason, spec.pruner.method)
    for name in spec.nuisance:
        reason = f"is tuned by one objective alone, which does not fit {both}; make it scientific"
        yield Problem(("nuisance", name), reason)
    if isinstance(spec.precision, Screen):
        reason = f"drops cells by one objective alone, which does not fit {both}; write "
        reason += f"replicates: {spec.precision.confirm}"
        yield Problem(("replicates", "screen"), reason, spec.precision.screen)
    if not SAMPLERS[spec.search.method].several:
        reason = f"learns from one objective alone, which does not fit {both}; use tpe, gp, nsga2 "
        yield Problem(("search", "method"), f"{reason}or nsga3", spec.search.method)


RULES = (objectives_are_several, constraints_name_metrics, nothing_judges_by_one_objective)
