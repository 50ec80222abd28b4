"""Differences and slopes as rows of a table, for whoever reads them with other tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from sweeper.analysis.answer import Answer, Dependence
from sweeper.analysis.effects import as_written
from sweeper.analysis.factors import Factor, show
from sweeper.analysis.intervals import Estimate


def estimate_row(estimate: Estimate) -> dict[str, Any]:
    """An estimate as columns of a table."""
    return {
        "estimate": estimate.value, "low": estimate.low, "high": estimate.high,
        "sd": estimate.sd, "n": estimate.n, "p": estimate.p, "family": estimate.family,
        "method": estimate.method, "note": estimate.note,
    }  # fmt: skip


def differences(found: Answer) -> pd.DataFrame:
    """Every paired difference as a row; `family` and `primary` say how it is to be read."""
    rows = []
    for primary, group in ((True, found.effects), (False, found.effects_at)):
        for effect in group:
            for one, verdict in zip(effect.differences, effect.verdicts, strict=True):
                rows.append({
                    "primary": primary, "factor": effect.factor.path,
                    "measure": effect.measure.name, "unit": effect.measure.unit,
                    "held": effect.held.path if effect.held else None, "at": effect.at,
                    "level": one.level, "reference": one.reference,
                    **estimate_row(one.estimate), "p_holm": one.p_holm,
                    "p_sign": one.p_sign, "improves": one.improves, "correlation": one.correlation,
                    "dropped": len(one.dropped), "verdict": verdict.badge,
                })  # fmt: skip
    levels = ["at", "level", "reference"]
    return as_written(pd.DataFrame(rows), rows=rows, columns=levels)


def slopes(found: Answer) -> pd.DataFrame:
    """Every slope and interaction as a row."""
    rows = list(_dependence_rows(found.dependence, found.x))
    for one in found.slopes:
        key = {"factor": one.factor.path, "measure": one.measure.name, "unit": one.measure.unit,
               "per": one.factor.step}  # fmt: skip
        for line in (one.overall, *one.lines):
            rows.append({**key, "kind": "slope", "at": line.at, **estimate_row(line.estimate)})
        if one.interaction is not None:
            at = f"{one.interaction.strong} minus {one.interaction.weak}"
            rows.append(
                {**key, "kind": "interaction", "at": at, **estimate_row(one.interaction.estimate)}
            )
    return as_written(pd.DataFrame(rows), rows=rows, columns=["at"])


def _dependence_rows(one: Dependence | None, x: Factor | None) -> Iterator[dict[str, Any]]:
    if one is None or x is None:
        return
    for level, estimate in zip(one.levels, one.estimates, strict=True):
        yield {
            "factor": x.path, "measure": one.measure.name, "unit": one.measure.unit,
            "per": f"{show(level)} against {show(one.reference)}", "kind": "interaction",
            "at": f"{one.strong} minus {one.weak}", **estimate_row(estimate),
        }  # fmt: skip
