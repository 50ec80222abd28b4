"""What stands in the place of an analysis that the runs do not allow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Withheld:
    """No result, and why, in a sentence."""

    reason: str
