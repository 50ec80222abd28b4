"""`compare`: a list of named cells is the question, alone or beside scientific factors."""

from __future__ import annotations

from itertools import product

import pytest

from sweeper import design, spec
from sweeper.errors import SpecError

NAMED = (
    "name: n\n"
    "compare:\n"
    "  - {name: SGD, train.sam.radius: 0}\n"
    "  - {name: SAM, train.sam.radius: 0.2}\n"
    "  - {name: SAM-A, train.sam.radius: 0.2, train.sam.asymmetry: 1}\n"
)
BESIDE = NAMED + "scientific: {train.batch_size: [8, 32]}\n"
OWN = (
    "name: n\ntrainer: mine\nfixed: {b: 5}\n"
    "compare: [{name: one, a: 1}, {name: two, a: 2, b: 6}]\nscientific: {c: [1, 2]}\n"
    "objective: {metric: m, direction: maximize}\n"
)


def test_named_cells_are_the_cells() -> None:
    """Each has its values, and all else as in data and train; the level is the name."""
    cells = [*design.designs(spec.parse(NAMED))]
    assert [cell.factors for cell in cells] == [
        {"compare": name} for name in ("SGD", "SAM", "SAM-A")
    ]
    sam = [(cell.config.train.sam.radius, cell.config.train.sam.asymmetry) for cell in cells]
    assert sam == [(0.0, 0.0), (0.2, 0.0), (0.2, 1.0)]


def test_named_cells_meet_every_level_of_the_other_factors() -> None:
    """A grid, so that the other factors can be held or averaged over."""
    found = spec.parse(BESIDE)
    cells = [(c.factors["compare"], c.factors["train.batch_size"]) for c in design.designs(found)]
    assert cells == list(product(["SGD", "SAM", "SAM-A"], [8, 32]))
    assert design.count(found) == 6


def test_a_named_cell_is_the_cell_of_the_same_levels() -> None:
    """The identity is the configuration: a run counts whatever its cell is called."""

    def hashes(text: str) -> list[str]:
        cells = design.designs(spec.parse(text))
        return [design.cell_hash(cell.config, "epochs", "data", "1") for cell in cells]

    by_factor = "name: n\nscientific: {train.sam.radius: [0.0, 0.2]}\n"
    assert hashes(NAMED)[:2] == hashes(by_factor)


def test_the_stored_spec_has_the_cells_and_their_names() -> None:
    """The report shows the names, `sweeper diff` the values; other specs are stored as before."""
    stored = spec.parse(NAMED).model_dump(mode="json")
    assert stored["scientific"] == {"compare": ["SGD", "SAM", "SAM-A"]}
    assert stored["compare"][0] == {"name": "SGD", "train.sam.radius": 0.0}
    assert "compare" not in spec.parse("name: n\nscientific: {train.lr: [1, 2]}\n").model_dump()


def test_a_random_search_draws_among_the_names() -> None:
    """The names are levels as words are."""
    text = NAMED + "scientific: {train.lr: {low: 0.01, high: 1.0}}\n"
    text += "search: {method: random, trials: 20}\n"
    names = {cell.factors["compare"] for cell in design.designs(spec.parse(text))}
    assert names == {"SGD", "SAM", "SAM-A"}


def test_a_trainer_of_ones_own_gets_the_values_and_not_the_name() -> None:
    """`fixed` where an entry has no value, and the other factors."""
    cells = [cell.config.model_dump()["train"] for cell in design.designs(spec.parse(OWN))]
    assert cells == [
        {"b": 5, "a": 1, "c": 1},
        {"b": 5, "a": 1, "c": 2},
        {"b": 6, "a": 2, "c": 1},
        {"b": 6, "a": 2, "c": 2},
    ]


def test_set_replaces_the_named_cells() -> None:
    """`--set` takes the whole list; a key that every entry sets cannot be set beside it."""
    other = "compare=[{name: x, train.lr: 0.1}, {name: y, train.lr: 0.2}]"
    cells = design.designs(spec.parse(NAMED, "s.yaml", [other]))
    assert [cell.config.train.lr for cell in cells] == [0.1, 0.2]
    with pytest.raises(SpecError, match="is set in every entry of compare; set compare"):
        spec.parse(NAMED, "s.yaml", ["train.sam.radius=0.3"])
    cells = design.designs(spec.parse(NAMED, "s.yaml", ["train.sam.asymmetry=0.5"]))
    assert [cell.config.train.sam.asymmetry for cell in cells] == [0.5, 0.5, 1.0]


def test_a_value_that_the_data_refuse_is_shown_at_its_entry() -> None:
    """A trainer's error names the line of the entry, not that of the block."""
    found = spec.parse(NAMED, "s.yaml")
    error = found.problem("train.sam.asymmetry", 1.0, "is too much")
    assert str(error) == "s.yaml:5: compare.train.sam.asymmetry: 1.0: is too much"
