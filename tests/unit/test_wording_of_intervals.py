"""Every interval of a page travels with its method, its n, its unit and its family (4.6)."""

import re

import planted
import pytest

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.topics.differences import section as differences
from sweeper.topics.registry import sections
from sweeper.topics.response import section as response

METHODS = re.compile(
    r"t interval|t test|paired t|Clopper|jackknife|Fieller|noncentral F|Hotelling|Satterthwaite"
)
FAMILY = re.compile(r"on its own|of each mean alone|simultaneous|family")
UNITS = re.compile(r"points|%|unit|f²|doubling|samples|steps|batch size")
COUNTED = {"n", "runs", "failed"}


@pytest.fixture(scope="module")
def tables():
    """(where, table) of all tables of a grid and of drawn cells that hold an interval."""
    found = []
    for plan in (planted.everything(), planted.scattered()):
        frames = load(planted.Memory(plan), plan.sweep.name)
        for _, one in sections(view_of(frames)):
            found += [
                (f"{one.id}: {table.caption}", table)
                for _, table in one.tables
                if any(re.search(r"interval\b|new data", name) for name in table.head)
                and one.id != "importance"  # whose column says that there is none
            ]
    assert len(found) > 8
    return found


@pytest.mark.parametrize("what", ["method", "n", "family", "unit"])
def test_a_table_with_intervals_names_their(tables, what):
    """In its caption, its head, or the note below it."""
    for where, table in tables:
        said = f"{table.caption} {table.note} {' '.join(table.head)}"
        told = {
            "method": bool(METHODS.search(said)),
            "n": bool(COUNTED & set(table.head)),
            "family": bool(FAMILY.search(said)),
            "unit": bool(UNITS.search(said)),
        }[what]
        assert told, where


@pytest.mark.parametrize("drawn", [response, differences])
def test_a_figure_with_bars_says_what_they_are(drawn):
    """What the bars are in the introduction, n in the title, the unit at the axis."""
    plan = planted.everything()
    frames = load(planted.Memory(plan), plan.sweep.name)
    one = drawn.TOPIC.section(view_of(frames))
    assert one is not None
    assert "intervals" in one.intro.lower()
    for figure in one.figures:
        assert "n\N{NO-BREAK SPACE}=" in figure.title
        assert re.search(r"%|points", figure.layout["yaxis"]["title"]["text"])
