"""The finding of a folded section: its result in one sentence."""

import planted
import pytest
from screened import screened
from visits import framed

from sweeper.analysis.view import view_of
from sweeper.topics.registry import sections

PLANS = {
    "full": planted.everything,
    "no grid": planted.scattered,
    "screened": screened,
    "one factor": lambda: planted.plan(levels={planted.BATCH: [2, 8, 32]}, replicates=3),
    "two replicates": lambda: planted.everything(replicates=2, failures={}),
}


@pytest.mark.parametrize("name", PLANS)
def test_every_folded_section_has_a_finding(name):
    """A reader who opens nothing learns what each part found; no line is left empty."""
    shown = sections(view_of(framed(PLANS[name]())))
    folded = {one.id: one.finding for topic, one in shown if not topic.open}
    assert folded
    for section, finding in folded.items():
        assert finding.endswith("."), section
        assert "\n" not in finding, section
        assert len(finding) <= 240, section


def test_a_finding_is_computed():
    """Counts and shares of the sweep at hand."""
    shown = {one.id: one.finding for _, one in sections(view_of(framed(planted.everything())))}
    assert shown["cells"] == "6 cells: levels, means, samples and times."
    assert shown["failures"].startswith("Of 24 runs: 1 failed")
    assert "1 pruned" in shown["failures"]
    assert shown["fairness"] == "The comparison is not shown to be fair; not met: complete blocks."
