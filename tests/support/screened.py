"""A screened sweep with a known truth: of four levels two are left, and those have fresh runs."""

from __future__ import annotations

from dataclasses import replace

import planted

from sweeper.analysis import screening
from sweeper.analysis.frames import Frames, load


def screened(*, undecided: bool = False, method: str = "factorial") -> Frames:
    """Four rates, screened on replicates 0 to 2; 0.03 and 0.1 are near, and fresh on 3 to 7."""
    truth = {0.01: 0.6, 0.03: 0.8, 0.1: 0.8, 0.3: 0.5}
    one = planted.plan(
        levels={"train.momentum": list(truth)}, replicates=8, noise=0.01, method=method,
        truth=lambda levels: truth[levels["train.momentum"]],
    )  # fmt: skip
    spec = {**one.sweep.spec, "replicates": {"screen": 3, "confirm": 5, "keep": None}}
    tried = [replace(cell, role="screening", replicates=(0, 1, 2)) for cell in one.cells]
    fresh = [replace(one.cells[at], replicates=(3, 4, 5, 6, 7)) for at in (1, 2)]
    cells = tried if undecided else [*tried, *fresh]
    numbers = {(at, r): one.numbers[int(cell.hash, 16), r]
               for at, cell in enumerate(cells) for r in cell.replicates}  # fmt: skip
    plan = replace(one, cells=cells, numbers=numbers, sweep=replace(one.sweep, spec=spec))
    frames = load(planted.Memory(plan), one.sweep.name)
    if undecided:
        return frames
    said = screening.decide(frames)
    stage = {
        "plan": spec["replicates"], "replicates": 3, "wanted": 3, "ended": said.ended,
        "text": said.text, "alpha": 0.0, "facts": [dict(one) for one in said.facts],
    }  # fmt: skip
    return replace(frames, sweep=replace(frames.sweep, stages=[stage]))
