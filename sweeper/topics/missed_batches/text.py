"""Batches without any minority sample, in a sentence."""

from __future__ import annotations

from sweeper.analysis.factors import show
from sweeper.analysis.wording import share, where
from sweeper.topics.missed_batches.estimate import MINORITY, MissedBatches


def absence(found: MissedBatches) -> str:
    """The ends of the minority's lines, at the strongest imbalance."""
    by = found.by.levels[0] if found.by else None
    line = found.of(MINORITY, by=by)
    if not line:
        return ""
    held = f" {where(found.by, by)}" if found.by else ""
    ends = [line[0]] if len(line) == 1 else [line[0], line[-1]]
    told = " and ".join(f"{share(one.without)} at {found.x.name} {show(one.x)}" for one in ends)
    return f"Batches without any minority sample{held}: {told}."
