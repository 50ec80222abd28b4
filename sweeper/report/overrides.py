"""The keys that `--set` changed, to be shown beside the text of the spec."""

from __future__ import annotations

from sweeper.analysis.overrides import overridden
from sweeper.drawing.redact import scrub
from sweeper.store.records import Sweep


def overrides(sweep: Sweep) -> list[str]:
    """`train.epochs: 3 (in the text: 12)` and so on."""
    return [
        f"{key}: {scrub(now)} (in the text: {scrub(before)})"
        for key, (before, now) in overridden(sweep).items()
    ]
