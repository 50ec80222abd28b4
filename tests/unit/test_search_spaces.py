"""The spaces that come with Sweeper: each is a spec, states its cost, and fits the digits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweeper import design, spec
from trainers import check, data
from trainers.data_config import DataConfig

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
by_name = pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)


def cifar(classes: int) -> dict[str, object]:
    """Facts of CIFAR's shape, for spaces whose data are too large to ship."""
    counts = {"train": [50_000 // classes] * classes, "test": [10_000 // classes] * classes}
    names = [f"c{i}" for i in range(classes)]
    return {"kind": "image", "shape": [3, 32, 32], "classes": names, "counts": counts}


@pytest.fixture(scope="module")
def facts() -> dict[str, dict[str, object]]:
    """What the checks need to know of each data set, by its name."""
    return {
        "digits": data.load(DataConfig()).facts,
        "digits_table": data.load(DataConfig(dataset="digits_table")).facts,
        "cifar10": cifar(10),
        "cifar100": cifar(100),
    }


def cost(found: spec.Spec) -> tuple[int, int, int]:
    """(cells, all runs, those of them that tune) counted one by one."""
    cells = list(design.designs(found))
    tuned = [one for cell in cells for one in design.candidates(found, cell) if found.nuisance]
    tuning = len(tuned) * found.tuning_replicates
    return len(cells), len(cells) * found.replicates + tuning, tuning


def test_the_promised_spaces_are_there() -> None:
    """One a lever, and all together."""
    assert [path.stem for path in SPACES] == [
        "augmentation", "augmentation_strength", "averages", "batch_composition", "batch_size",
        "cifar100_wide_resnet", "cifar10_long_tail", "class_order", "losses", "networks",
        "noise_or_statistics", "pretraining", "sam_methods", "sam_passes", "sam_radius", "samplers",
        "sharpness", "six_levers", "smoothing", "ssl_objectives", "ssl_queue", "ssl_weight",
        "tables", "width",
    ]  # fmt: skip


@by_name
def test_a_space_opens_with_what_it_shows_and_what_it_costs(path: Path) -> None:
    """The comment is read before anything is run, so its numbers are true."""
    text = path.read_text("utf-8")
    assert text.startswith("# Shows: ")
    found = re.search(r"^# Costs: (\d+) cells, (\d+) runs(?: \((\d+) of them tune)?", text, re.M)
    assert found, "no line on costs"
    assert tuple(int(number or 0) for number in found.groups()) == cost(spec.parse(text))


@by_name
def test_a_space_states_a_question(path: Path) -> None:
    """The report opens with it."""
    found = spec.load(path)
    assert found.question.endswith("?")
    assert found.warnings == ()


@by_name
def test_every_cell_of_a_space_can_run(path: Path, facts: dict[str, dict[str, object]]) -> None:
    """No batch is larger than its subset, no name is unknown, no class is empty."""
    found = spec.load(path)
    for cell in design.designs(found):
        for one in design.candidates(found, cell):
            assert min(check.check(one.config, facts[found.data.dataset])) >= 1


@by_name
def test_a_space_can_be_renamed_by_its_first_key(path: Path) -> None:
    """`sweeper init` writes a copy under a name of the user's."""
    text = path.read_text("utf-8")
    assert len(re.findall(r"^name: ", text, re.M)) == 1
    assert spec.parse(re.sub(r"(?m)^name: .*$", "name: mine", text)).name == "mine"
