"""The methods paragraph names what the page uses, and nothing else."""

import re
from functools import cache

import planted
import pytest

from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.report.glossary import OF_ONE, OF_SEVERAL, used
from sweeper.report.methods import methods
from sweeper.report.references import WORKS, bibtex

CITED = re.compile(r"[A-Z][\w-]+(?: et al\.| and [A-Z]\w+)?(?:, \d{4}| \(\d{4}\))")


@cache
def told_of(name):
    return told(PAGES[name])


def told(plan):
    frames = load(planted.Memory(plan), plan.sweep.name)
    return " ".join(methods(view_of(frames)))


def crossed(factors, label):
    """Small batches serve the small classes, large ones the large."""
    return 70 + (label - 4.5) * (2 if factors[planted.BATCH] < 8 else -2)


PAGES = {
    "grid": planted.everything(),
    "no grid": planted.scattered(),
    "bare": planted.plan(replicates=2),
    "crossing": planted.with_recalls(planted.plan(), crossed, noise=0.5),
}


@pytest.mark.parametrize(
    ("words", "pages"),
    [
        ("Fieller", {"crossing"}),
        ("Hotelling", {"grid"}),
        ("a comparison is called fair", {"grid", "crossing"}),
        ("were withheld", set()),
        ("Importance is model-based", {"no grid"}),
        ("intervals for new data", {"grid", "no grid"}),
        ("Student t intervals", {"grid", "no grid", "crossing"}),
        ("paired t intervals", {"grid", "crossing"}),
    ],
)
def test_a_method_is_named_where_it_is_used_alone(words, pages):
    """Those of four sweeps whose page shows what the method gives."""
    assert {name for name in PAGES if words in told_of(name)} == pages


@pytest.mark.parametrize("name", PAGES)
def test_every_work_that_is_cited_has_its_entry(name):
    """And no other has."""
    text = told_of(name)
    cited = set(CITED.findall(text))
    assert cited
    assert cited <= WORKS.keys()
    assert bibtex(text).count("\n@") + 1 == len(cited)


def test_a_pick_at_the_edge_is_told():
    """What rests on it was withheld."""
    plan = planted.with_tuning(planted.plan(), (0.01, 0.1, 1.0), truth=lambda _, rate: rate)
    assert "Verdicts that rest on a pick at an edge were withheld." in told(plan)


def test_the_glossary_holds_the_words_that_the_page_uses():
    """As whole words, in either case, alone or as a plural; one word of an entry is enough."""
    entries = [("epoch, update", "1"), ("n", "2"), ("Pareto set", "3"), ("cell", "4")]
    assert used(entries, "40 Updates in no time") == entries[:1]
    assert used(entries, "the Pareto\n set of n cells") == entries[1:]
    assert used(entries, "excellent") == []


def test_a_word_is_explained_once():
    """In one line, on either page."""
    words = [word for word, _ in (*OF_ONE, *OF_SEVERAL)]
    assert len(words) == len(set(words))
