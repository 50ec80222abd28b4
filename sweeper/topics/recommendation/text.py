"""The recommended configuration as YAML that `sweeper train` trains, and as JSON."""

from __future__ import annotations

import io
import math
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sweeper import __version__, files
from sweeper.analysis.factors import name_of, show
from sweeper.analysis.intervals import Estimate
from sweeper.analysis.view import SweepView
from sweeper.analysis.wording import FIXED, capitalised, interval, number
from sweeper.drawing.table import HASH
from sweeper.errors import InputError
from sweeper.topics.recommendation.estimate import Alternative, Recommendation, Rival, recommend

RIVALS = 12  # more than this are counted, not listed


def document(made: Recommendation) -> dict[str, Any]:
    """`data` and `train` of the choice, and `evidence` for it: plain values.

    `trainer` and `config`, if the trainer is a function of the user's own.
    """
    if "trainer" in made.config:
        return {
            "trainer": made.config["trainer"],
            "config": made.config["train"],
            "evidence": evidence(made),
        }
    return {
        "data": made.config["data"],
        "train": made.config["train"],
        "evidence": evidence(made),
    }


def evidence(made: Recommendation) -> dict[str, Any]:
    """Why this cell was chosen, how good it is, and which cells may be as good."""
    objective = made.test[0][0]
    return {
        "question": made.question,
        "sweep": made.sweep,
        "cell": made.hash[:HASH],
        "levels": made.levels,
        "chosen_by": made.rule,
        "replicates": made.val.n,
        "unit": "percent" if objective.unit == "points" else objective.unit or "as it comes",
        "intervals": made.val.method if made.val.known else f"none: {made.val.note}",
        "test": {measure.title: _numbers(one) for measure, one in made.test},
        "validation": {objective.title: _numbers(made.val)},
        "seconds_a_run": _rounded(made.seconds),
        "not_told_apart_from": [_rival(one) for one in made.rivals[:RIVALS]],
        "not_told_apart_in_all": len(made.rivals),
        **({"constraints": list(made.constraints)} if made.constraints else {}),
        **({"pareto_set": [_alternative(one) for one in made.pareto]} if made.pareto else {}),
        "verdicts_withheld": made.withheld or "no",
        "remarks": list(made.remarks),
        "data_fingerprint": made.fingerprint,
        "made_by": f"Sweeper {__version__}",
        "again": command(made),
    }


def command(made: Recommendation) -> str:
    """The command that makes this again, where the database is the usual one."""
    held = [word for path, level in made.held.items() for word in ("--at", f"{path}={show(level)}")]
    return shlex.join(["sweeper", "best", made.sweep, *held])


def text(made: Recommendation) -> str:
    """The document as YAML, with what to do with it on top."""
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 96
    body = io.StringIO()
    yaml.dump(document(made), body)
    then = (
        "# config is what the training function gets.\n"
        if "trainer" in made.config
        else "# Train it, and keep the network with its model card:\n"
        "#   sweeper train THIS_FILE --out model\n"
    )
    first = (
        "# The recommended configuration of a sweep, with the evidence for it; by sweeper best.\n"
    )
    return f"{first}{then}{body.getvalue()}"


@dataclass(frozen=True)
class Recommended:
    """What a report says of the choice; without a choice, the reason alone.

    Attributes:
        finding: the choice and its objective on test, or why there is none.
        command: how to get it again, with the command in backticks.
    """

    finding: str
    command: str = ""
    yaml: str = ""


def recommended(view: SweepView) -> Recommended:
    """The configuration that `sweeper best` gives, for the page."""
    try:
        made = recommend(view)
    except InputError as error:
        return Recommended(f"None: {error}.")
    measure, seen = made.test[0]
    levels = ", ".join(f"{name_of(path)} {show(level)}" for path, level in made.levels.items())
    sign = f"{FIXED}%" if measure.bounded else ""
    value = number(seen.value, unit=measure.unit)
    finding = (
        f"{capitalised(levels)}: {measure.title} {value}{sign} on test "
        f"({interval(seen, unit=measure.unit, signed=False)}, n{FIXED}={FIXED}{seen.n})."
    )
    return Recommended(finding, f"`{command(made)}`", text(made))


def write(made: Recommendation, out: Path, *, force: bool) -> Path:
    """Writes the YAML to a file.

    Raises:
        InputError: it exists (`force` replaces it), or cannot be written.
    """
    if os.path.lexists(out) and (out.is_dir() or not force):
        raise InputError(f"--out {out}: exists already; --force replaces it")
    try:
        files.write(out, text(made))
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written: {error.strerror}") from error
    return out


def _numbers(one: Estimate) -> dict[str, Any]:
    return {"mean": _rounded(one.value), "low": _rounded(one.low), "high": _rounded(one.high)}


def _alternative(one: Alternative) -> Mapping[str, Any]:
    return {
        "levels": one.levels,
        "cell": one.hash[:HASH],
        "on_the_front": one.front,
        "validation": {measure.title: _numbers(seen) for measure, seen in one.val},
        "test": {measure.title: _numbers(seen) for measure, seen in one.test},
    }


def _rival(one: Rival) -> Mapping[str, Any]:
    return {
        "levels": one.levels,
        "cell": one.hash[:HASH],
        "behind_on_validation": _rounded(one.behind),
        "replicates_that_would_tell": one.needed,
        "seconds_a_run": _rounded(one.seconds),
    }


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
