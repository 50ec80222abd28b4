"""The rules between the keys of a spec; types and single values are checked by the models.

Each rule yields `Problem`s, and the user reads all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sweeper.spec import factors as f
from sweeper.spec import goal_rules, search_rules
from sweeper.spec.compared import (
    named_cells_are_listed,
    named_cells_differ,
    named_cells_have_keys_of_their_own,
)
from sweeper.spec.factors import AnyFactor, Level, Levels, NamedCell, NuisanceRange, Range
from sweeper.spec.models import COMPARE, ON_TEST, Looks, Screen, SpecFile, Target
from sweeper.spec.own import epochs_in
from sweeper.spec.phrases import accepts, block, keys, near
from sweeper.spec.problems import Problem
from sweeper.spec.samplers import ADAPTIVE
from trainers.config import OBJECTIVES, Config

MANY = 1001  # no condition lists this many levels
BUDGETS = ("train.epochs", "train.steps")
OWN_BUDGETS = ("epochs",)
OWN_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
MOST_SCREENED = 1000  # cells; the number of comparisons grows with their square
WIDEST = 0.5  # a half width of a share at which its interval holds every share


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field that holds a value, by dotted path."""
    for name, field in keys(model).items():
        if inner := block(field.annotation):
            yield from fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def factor_fields() -> dict[str, FieldInfo]:
    """The fields that a factor may name, those of loaded plug-ins included."""
    return dict(fields(Config))


def canonical(spec: SpecFile) -> tuple[SpecFile, list[Problem]]:
    """The spec with every level in its field's type (1 becomes 1.0 if decimal), and problems.

    The objective gets its split. Factors without a field, or with a level that the field does not
    accept, are left out, and their problems are returned.
    """
    wrong: list[Problem] = []
    roles: dict[str, dict[str, AnyFactor]] = {"scientific": {}, "nuisance": {}}
    for role, kept in roles.items():
        for name, factor in getattr(spec, role).items():
            try:
                _check_name(spec, (role, name))
                kept[name] = _canonical_factor(spec, (role, name), factor, wrong)
            except Problem as problem:
                wrong.append(problem)
    compare = tuple(_named(spec, at, one, wrong) for at, one in enumerate(spec.compare))
    if compare:
        roles["scientific"] = {COMPARE: tuple(one.name for one in compare), **roles["scientific"]}
    if spec.objectives and "objective" in spec.model_fields_set:
        wrong.append(Problem(("objective",), "write objective or objectives, not both"))
    reference = {name: _lenient(spec, name, level) for name, level in spec.reference.items()}
    first = tuple(
        {name: _lenient(spec, name, level) for name, level in one.items()} for one in spec.first
    )
    resources = spec.resources
    if spec.trainer is not None:  # a function trains one run at a time
        resources = resources.model_copy(update={"pack": 1})
    split = spec.objective.split or ("test" if spec.data.val.source == "none" else "val")
    objective = spec.goals[0].model_copy(update={"split": split})
    update = {**roles, "compare": compare, "reference": reference, "first": first}
    update |= {"objective": objective, "resources": resources}
    return spec.model_copy(update=update), wrong


def _named(spec: SpecFile, at: int, one: NamedCell, wrong: list[Problem]) -> NamedCell:
    levels: dict[str, Level] = {}
    for key, level in one.levels.items():
        try:
            _check_name(spec, ("compare", at, key))
            levels[key] = _level(spec, key, ("compare", at, key), level)
        except Problem as problem:
            wrong.append(problem)
    return NamedCell.model_validate({"name": one.name, **levels})


def _check_name(spec: SpecFile, path: tuple[str | int, ...]) -> None:
    role, name = path[0], str(path[-1])
    if role == "nuisance" and name in spec.scientific:
        raise Problem(path, "is already a scientific factor; a factor has one role")
    if name == COMPARE and spec.compare:
        raise Problem(path, "is the factor that compare makes; use another name")
    if spec.trainer is not None:
        if not OWN_NAME.fullmatch(name):
            raise Problem(path, "must be names of letters, digits and _, joined by dots")
        return
    known = factor_fields()
    inner = [one for one in known if one.startswith(f"{name}.")]
    if inner:
        some = ", ".join(inner[:6])
        raise Problem(path, f"is a block; name one of its keys, such as {some}")
    if name not in known:
        block = name.rpartition(".")[0]
        foreign = block.startswith("train.") and not any(o.startswith(f"{block}.") for o in known)
        own = "; a plug-in's key needs its --plugin" if foreign else near(name, known)
        raise Problem(path, f"no such key to vary{own}")
    if name.startswith("data.") and not name.startswith("data.imbalance."):
        raise Problem(path, "one sweep has one data set; only data.imbalance may vary")
    if name == "train.evaluations":
        reason = "does not change the training, and all cells are evaluated at the same shares"
        raise Problem(path, f"{reason} of their budget; write it under train")
    if name == "train.observe":
        raise Problem(path, "is equal for all cells; write it under train")
    if name == "data.imbalance.draw":
        reason = "a sweep has one way to draw; run a second sweep with the other, and report both"
        raise Problem(path, reason)


def _canonical_factor(
    spec: SpecFile, path: tuple[str, str], factor: AnyFactor, wrong: list[Problem]
) -> AnyFactor:
    name = path[1]
    if isinstance(factor, tuple):
        return _canonical_levels(spec, name, path, factor, wrong)
    if isinstance(factor, Levels):
        levels = _canonical_levels(spec, name, (*path, "levels"), factor.levels, wrong)
        return factor.model_copy(update={"levels": levels, "when": _canonical_when(spec, factor)})
    ends = {key: _level(spec, name, (*path, key), getattr(factor, key)) for key in ("low", "high")}
    _check_range(path, factor)
    if isinstance(factor, NuisanceRange):
        return factor.model_copy(update=ends)
    if isinstance(ends["low"], int) and isinstance(factor.step, float):
        reason = "must be a whole number, the factor's levels are"
        raise Problem((*path, "step"), reason, factor.step)
    return factor.model_copy(update={**ends, "when": _canonical_when(spec, factor)})


def _canonical_when(spec: SpecFile, factor: Levels | Range) -> dict[str, tuple[Level, ...]]:
    return {
        parent: tuple(_lenient(spec, parent, level) for level in levels)
        for parent, levels in factor.when.items()
    }


def _lenient(spec: SpecFile, name: str, level: Level) -> Level:
    # A level that its parent cannot have is later reported as "not a level of the parent".
    try:
        return _level(spec, name, (), level) if name in factor_fields() else level
    except Problem:
        return level


def _canonical_levels(
    spec: SpecFile,
    name: str,
    path: tuple[str | int, ...],
    levels: tuple[Level, ...],
    wrong: list[Problem],
) -> tuple[Level, ...]:
    found: list[Level] = []
    for i, level in enumerate(levels):
        try:
            value = _level(spec, name, (*path, i), level)
        except Problem as problem:
            wrong.append(problem)
            continue
        if value in found:
            wrong.append(Problem((*path, i), "the level is given twice", level))
        found.append(value)
    if len(levels) < 2:
        home = "data or train" if spec.trainer is None else "fixed"
        reason = f"a factor needs two levels; a fixed value belongs in {home}"
        raise Problem(path, reason, list(levels))
    return tuple(found) if spec.trainer is None else _alike(found)


def _alike(levels: Sequence[Level]) -> tuple[Level, ...]:
    """Decimal numbers if one of the numbers is decimal, because no field has a type here."""
    numbers = [one for one in levels if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) == len(levels) and any(isinstance(one, float) for one in numbers):
        return tuple(float(one) for one in numbers)
    return tuple(levels)


def _level(spec: SpecFile, name: str, path: tuple[str | int, ...], level: Level) -> Level:
    """The level in its field's type."""
    if spec.trainer is not None:
        return level
    try:
        value: Any = spec.config_for({name: level})
    except ValidationError as cause:
        raise Problem(path, f"must be {accepts(factor_fields()[name])}", level) from cause
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _check_range(path: tuple[str, str], factor: Range | NuisanceRange) -> None:
    if factor.low >= factor.high:
        raise Problem((*path, "low"), f"low must be below high, {factor.high}", factor.low)
    if factor.log and factor.low <= 0:
        raise Problem((*path, "low"), "a logarithmic range must begin above 0", factor.low)
    if isinstance(factor, NuisanceRange) or factor.step is None:
        return
    at = (*path, "step")
    if factor.log:
        raise Problem(at, "a logarithmic range has no step; use levels: N", factor.step)
    if factor.levels is not None:
        raise Problem(at, "give step or levels, not both", factor.step)
    if factor.step <= 0:
        raise Problem(at, "must be above 0", factor.step)
    if factor.step > factor.high - factor.low:
        raise Problem(at, "the step is larger than the range", factor.step)


def budgets(spec: SpecFile) -> tuple[str, ...]:
    """The factors that change how long a run is."""
    return BUDGETS if spec.trainer is None else OWN_BUDGETS


def some_factor(spec: SpecFile) -> Iterator[Problem]:
    if not spec.scientific:
        yield Problem(("scientific",), "name at least one factor; the question is about it")


def an_own_trainer_has_its_own_values(spec: SpecFile) -> Iterator[Problem]:
    """A training function gets `fixed` and the factors; Sweeper's trainer gets `data`, `train`."""
    if spec.trainer is None:
        if spec.fixed:
            yield Problem(("fixed",), "needs a trainer of your own; name it with trainer: NAME")
        return
    for block_name in {"data", "train", "budget"} & spec.model_fields_set:
        reason = "is for Sweeper's trainer; write the values of your own under fixed"
        yield Problem((block_name,), reason)
    metric = spec.objective.metric
    stated = spec.objectives or "direction" in spec.objective.model_fields_set
    if metric not in OBJECTIVES and not stated:
        reason = f"is needed: write objective: {{metric: {metric}, direction: maximize}}"
        yield Problem(("objective", "direction"), reason)
    if spec.pruner.method == "hyperband" and not epochs_in(spec.fixed):
        reason = "hyperband needs the number of epochs; write fixed: {epochs: N}"
        yield Problem(("pruner",), reason, "hyperband")
    if spec.resources.gpus == "auto":
        reason = "a trainer of your own is not probed; write the share, such as 0.5"
        yield Problem(("resources", "gpus"), reason, "auto")


def nothing_is_selected_on_test(spec: SpecFile) -> Iterator[Problem]:
    """Selection (tuning, pruning, adaptive search, screening) needs a validation split."""
    if spec.data.val.source != "none":
        if spec.objective.split == "test":
            yield Problem(("objective", "split"), ON_TEST, "test")
        return
    fix = "set data.val: test (a part of the test split) or pool"
    if spec.objective.split == "val":
        yield Problem(("objective", "split"), f"data.val is none, so no split is val; {fix}", "val")
    for name in spec.nuisance:
        reason = f"is tuned on the validation split, and data.val is none; {fix}, or state a value"
        yield Problem(("nuisance", name), reason)
    if spec.search.method in ADAPTIVE:
        reason = f"learns from the validation split, and data.val is none; {fix}, or use qmc"
        yield Problem(("search", "method"), reason, spec.search.method)
    if spec.pruner.method != "none":
        reason = f"judges cells on the validation split, and data.val is none; {fix}, or use none"
        yield Problem(("pruner", "method"), reason, spec.pruner.method)
    if isinstance(spec.precision, Screen):
        reason = f"drops cells by the validation split, and data.val is none; {fix}, or write "
        reason += f"replicates: {spec.precision.confirm}"
        yield Problem(("replicates", "screen"), reason, spec.precision.screen)


def conditions_can_hold(spec: SpecFile) -> Iterator[Problem]:
    """Every `when` names another scientific factor and levels of it."""
    for name, factor in spec.scientific.items():
        for parent, levels in f.condition(factor).items():
            yield from _condition(spec, name, parent, levels)
    try:
        f.order(spec.scientific)
    except CycleError as cycle:
        names: list[str] = cycle.args[1]
        yield Problem(("scientific", names[0], "when"), f"forms a cycle: {' -> '.join(names)}")


def _condition(
    spec: SpecFile, name: str, parent: str, levels: tuple[Level, ...]
) -> Iterator[Problem]:
    path = ("scientific", name, "when", parent)
    if parent not in spec.scientific:
        yield Problem(path, f"no such scientific factor{near(parent, spec.scientific)}")
        return
    if (f.size(spec.scientific[parent]) or MANY) >= MANY:
        yield Problem(path, f"{parent} is a range; give it levels to depend on")
        return
    valid = f.grid(spec.scientific[parent]) or ()
    for level in levels:
        if level not in valid:
            has = ", ".join(map(str, valid[:20]))
            yield Problem(path, f"never true, the levels of {parent} are {has}", level)


def conditions_do_hold(spec: SpecFile) -> Iterator[Problem]:
    """No chain of conditions requires two different levels of one factor."""
    for name in spec.scientific:
        for parent, levels in f.asked(spec.scientific, name).items():
            if not levels:
                reason = f"never true, the conditions contradict each other on {parent}"
                yield Problem(("scientific", name, "when"), reason)


def references_are_levels(spec: SpecFile) -> Iterator[Problem]:
    """Every reference names a scientific factor and one of its levels."""
    for name, level in spec.reference.items():
        path = ("reference", name)
        if name not in spec.scientific:
            yield Problem(path, f"no such scientific factor{near(name, spec.scientific)}")
            continue
        if (f.size(spec.scientific[name]) or MANY) >= MANY:
            yield Problem(path, "the factor is a range; give it levels to compare with one")
            continue
        levels = f.grid(spec.scientific[name]) or ()
        if level not in levels:
            has = ", ".join(map(str, levels[:20]))
            yield Problem(path, f"is not a level of the factor; its levels are {has}", level)


def cells_are_few_enough(spec: SpecFile) -> Iterator[Problem]:
    if spec.search.method != "factorial":
        return
    cells = f.count(spec.scientific)
    if cells > f.MAX_CELLS:
        yield Problem(
            ("scientific",),
            f"{cells:,} cells{_more(spec)}, the limit is {f.MAX_CELLS:,}; use fewer levels, or "
            "search: {method: qmc, trials: 100}",
        )


def _more(spec: SpecFile) -> str:
    # Under conditions the count stops at the limit.
    return " or more" if any(map(f.condition, spec.scientific.values())) else ""


def budget_is_stated(spec: SpecFile) -> Iterator[Problem]:
    """A step budget needs `train.steps`; an epoch budget ignores it."""
    roles = [role for role in ("scientific", "nuisance") if "train.steps" in getattr(spec, role)]
    paths = [(role, "train.steps") for role in roles]
    paths += [("train", "steps")] if spec.train.steps is not None else []
    if spec.budget.unit == "steps" and not paths:
        yield Problem(("budget",), "train.steps must say how many", "steps")
    if spec.budget.unit == "epochs":
        for path in paths:
            yield Problem(path, "counts only under budget: {unit: steps}")


def pruning_compares_like_with_like(spec: SpecFile) -> Iterator[Problem]:
    for name in budgets(spec):
        if spec.pruner.method != "none" and name in spec.scientific:
            yield Problem(
                ("pruner",),
                f"cells of different {name} cannot be compared at the same epoch",
                spec.pruner.method,
            )


def pruning_can_happen(spec: SpecFile) -> Iterator[Problem]:
    most, first = spec.config_for({}).evaluations, spec.pruner.min_evaluations
    if spec.trainer is not None and not most:
        return  # nobody knows how often a function reports
    if spec.pruner.method != "none" and first >= most:
        reason = f"a run is evaluated {most} times at most; decide before its last evaluation"
        yield Problem(("pruner", "min_evaluations"), reason, first)


def budgets_are_not_tuned(spec: SpecFile) -> Iterator[Problem]:
    for name in budgets(spec):
        if name in spec.nuisance:
            yield Problem(("nuisance", name), "a budget is stated or varied, never tuned")


def planned_replicates_can_be_paired(spec: SpecFile) -> Iterator[Problem]:
    """A plan compares in pairs, so it needs a whole grid, and every run to its end."""
    if spec.precision is None or isinstance(spec.precision, Screen):
        return
    path, instead = ("replicates",), f"write a number, such as {spec.replicates}"
    if spec.search.method != "factorial":
        yield Problem(path, f"a plan needs search: factorial, to compare in pairs; {instead}")
    if spec.pruner.method != "none":
        reason = (
            f"a plan needs pruner: none, since cells that stop early cannot be compared; {instead}"
        )
        yield Problem(path, reason)
    if any(map(f.condition, spec.scientific.values())):
        yield Problem(path, f"a plan needs a whole grid, without `when`; {instead}")


def screened_cells_compete(spec: SpecFile) -> Iterator[Problem]:
    """Screened cells must answer one question, be known at the start, and train to their end."""
    if not isinstance(spec.precision, Screen):
        return
    path, instead = ("replicates", "screen"), f"write replicates: {spec.precision.confirm}"
    if spec.search.method in ADAPTIVE:
        reason = f"{spec.search.method} chooses its own cells; screening needs search: factorial, "
        yield Problem(path, f"{reason}random or qmc, or {instead}", spec.precision.screen)
    if spec.pruner.method != "none":
        reason = f"pruner: {spec.pruner.method} stops cells early; screening needs pruner: none"
        yield Problem(path, f"{reason}, or {instead}", spec.precision.screen)
    cells = spec.search.trials or f.count(spec.scientific)
    if cells > MOST_SCREENED:
        reason = f"every pair of cells is compared, of at most {MOST_SCREENED:,}, and these are "
        yield Problem(path, f"{reason}{cells:,}; use search: {{method: qmc, trials: 200}}")
    for name in spec.scientific:
        if name.startswith("data.") or name in budgets(spec):
            reason = (
                f"{name} is a condition that cells meet, and cells of other conditions are not "
                f"better or worse answers; state one level of it, or {instead}"
            )
            yield Problem(path, reason, spec.precision.screen)


def plans_can_be_followed(spec: SpecFile) -> Iterator[Problem]:
    plan = spec.precision
    if isinstance(plan, Target):
        yield from _target(plan, metric=spec.objective.metric)
    if isinstance(plan, Looks):
        for at in range(1, len(plan.looks)):
            if plan.looks[at] <= plan.looks[at - 1]:
                rising = ", ".join(map(str, sorted(set(plan.looks))))
                reason = f"must rise; did you mean [{rising}]?"
                yield Problem(("replicates", "looks", at), reason, plan.looks[at])


def _target(plan: Target, *, metric: str) -> Iterator[Problem]:
    if plan.max < plan.start:
        reason = f"must be at least start, which is {plan.start}"
        yield Problem(("replicates", "max"), reason, plan.max)
    if metric in OBJECTIVES.keys() - {"loss"} and plan.target >= WIDEST:
        meant = f"; did you mean {plan.target / 100:g}?" if plan.target / 100 < WIDEST else ""
        reason = f"{metric} is a share: 0.01 is one point, and it must be below {WIDEST:g}{meant}"
        yield Problem(("replicates", "target"), reason, plan.target)


# Later groups rely on the earlier ones: conditions name existing levels and form no cycle.
FIRST = (
    named_cells_differ,
    named_cells_have_keys_of_their_own,
    named_cells_are_listed,
    conditions_can_hold,
)
SECOND = (conditions_do_hold,)
RULES = (
    some_factor,
    an_own_trainer_has_its_own_values,
    nothing_is_selected_on_test,
    references_are_levels,
    *search_rules.RULES,
    *goal_rules.RULES,
    cells_are_few_enough,
    budget_is_stated,
    pruning_compares_like_with_like,
    pruning_can_happen,
    budgets_are_not_tuned,
    planned_replicates_can_be_paired,
    screened_cells_compete,
    plans_can_be_followed,
)


def broken(spec: SpecFile) -> list[Problem]:
    """The problems of the first group of rules that the spec breaks."""
    for rules in (FIRST, SECOND, RULES):
        found = [problem for rule in rules for problem in rule(spec)]
        if found:
            return found
    return []


def warnings(spec: SpecFile) -> Mapping[str, str]:
    """Warnings of allowed but probably unintended values, by key."""
    found: dict[str, str] = {}
    if spec.replicates == 1:
        found["replicates"] = "with one replicate no interval can be given"
    if names := search_rules.drawn_at_random(spec):
        method = spec.search.method
        reason = f"{method} draws {', '.join(names)} at random: it models ranges of numbers only"
        found["search"] = reason
    return found
