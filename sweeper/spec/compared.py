"""The rules about `compare`: named cells that differ, in keys that are theirs alone."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper.spec import factors as f
from sweeper.spec.models import COMPARE, SpecFile
from sweeper.spec.problems import Problem
from sweeper.spec.samplers import ADAPTIVE


def named_cells_differ(spec: SpecFile) -> Iterator[Problem]:
    """Two cells or more, each with a name, a value and a configuration of its own."""
    if len(spec.compare) == 1:
        yield Problem((COMPARE,), "names one cell; a comparison needs two or more")
    names, configurations = set[str](), dict[str, str]()
    for at, one in enumerate(spec.compare):
        place = (COMPARE, at, "name")
        if not one.name.isprintable() or one.name != one.name.strip():
            reason = "must be printable, without spaces at its ends"
            yield Problem(place, reason, one.name)
        if one.name in names:
            yield Problem(place, "is given twice; each cell needs its own name", one.name)
            continue
        names.add(one.name)
        if not one.levels:
            reason = "sets no key; add what it differs in, such as train.sam.radius: 0.2"
            yield Problem(place, reason, one.name)
            continue
        configuration = spec.config_for({COMPARE: one.name}).model_dump_json()
        other = configurations.setdefault(configuration, one.name)
        if other != one.name:
            reason = f"is the same cell as {other!r}; change a value, or remove one of them"
            yield Problem(place, reason, one.name)


def named_cells_have_keys_of_their_own(spec: SpecFile) -> Iterator[Problem]:
    """What a named cell sets is no factor, no condition and no budget."""
    budgets = {"train.epochs", "train.steps"} if spec.trainer is None else {"epochs"}
    for at, one in enumerate(spec.compare):
        for key, level in one.levels.items():
            reason = ""
            if key in spec.scientific:
                reason = "is also a scientific factor; a key has one role, so remove one of them"
            elif key in spec.nuisance:
                reason = "is also a nuisance factor; a key has one role, so remove one of them"
            elif spec.trainer is None and key.startswith("data."):
                reason = "is a condition that every cell meets; make it a scientific factor"
            elif key in budgets:
                reason = "is a budget, and cells are compared at the same one; state it once"
            if reason:
                yield Problem((COMPARE, at, key), reason, level)


def named_cells_are_listed(spec: SpecFile) -> Iterator[Problem]:
    """No search chooses named cells, and no factor depends on them."""
    if spec.compare and spec.search.method in ADAPTIVE:
        reason = "chooses its own cells, and compare lists them; write search: factorial"
        yield Problem(("search", "method"), reason, spec.search.method)
    for name, factor in spec.scientific.items():
        if spec.compare and COMPARE in f.condition(factor):
            reason = "named cells have no factors of their own; write its level into their entries"
            yield Problem(("scientific", name, "when", COMPARE), reason)
