"""A planned sweep as one analysis sees it, without the whole answer around it."""

from __future__ import annotations

import planted

from sweeper.analysis.comparable import comparable_cells, scientific
from sweeper.analysis.factors import axes
from sweeper.analysis.frames import load
from sweeper.analysis.measures import measures, responses
from sweeper.analysis.view import SweepView


def look_of(plan: planted.Plan) -> SweepView:
    """All measures of the cells that may be compared."""
    frames = load(planted.Memory(plan), plan.sweep.name)
    judged = comparable_cells(frames)
    listed = measures(frames)
    factors = scientific(frames, cells=judged.compared or judged.cells)
    table = {one.name: responses(frames, measure=one, cells=judged.cells) for one in listed}
    return SweepView(frames, judged, listed, table, factors, *axes(factors))
