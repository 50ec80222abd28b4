"""A training function: how it is known, what it gets, and what it may report."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import sweeper
from sweeper import trainables
from sweeper.trainables import Replicate, Reported, Reporter, ReportError

BODY = """
import sweeper

RATE = {rate}


def helper(x):
    return x + {helper}


def unused(x):
    return {unused}


@sweeper.trainable
def mine(config, replicate, report):
    def inner(x):
        return helper(x) * RATE
    report(0, val={{"a": inner(1)}})
"""


def written(folder: Path, **parts: Any) -> ModuleType:
    """A file with a training function, imported."""
    path = folder / f"own_{len(list(folder.iterdir()))}.py"
    path.write_text(BODY.format(**{"rate": 1, "helper": 1, "unused": 1, **parts}))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_decorated_function_is_known_by_its_name() -> None:
    """A trainer has its function's name or a given name, and can still be called."""

    @sweeper.trainable(name="other", version=3)
    def known(config: Any, replicate: Any, report: Any) -> int:
        return config["x"]

    assert trainables.named("other") is known
    assert known.version == "3"
    assert known({"x": 1}, Replicate(0), None) == 1  # pyright: ignore[reportArgumentType]
    with pytest.raises(sweeper.InputError, match=r"'othr' is not defined .* did you mean 'other'"):
        trainables.named("othr")


@pytest.mark.parametrize(
    ("change", "same"),
    [({}, True), ({"unused": 2}, True), ({"helper": 2}, False), ({"rate": 2}, False)],
)
def test_the_source_that_is_used_is_the_version(
    tmp_path: Path, change: dict[str, int], same: bool
) -> None:
    """A helper or a constant that the function uses makes another version; the rest does not."""
    one, two = written(tmp_path), written(tmp_path, **change)
    assert (one.mine.version == two.mine.version) is same
    assert re.fullmatch("source [0-9a-f]{12}", one.mine.version)


def test_a_function_without_source_needs_a_version() -> None:
    """One line says how to give it."""
    namespace: dict[str, Any] = {}
    exec("def hidden(config, replicate, report): pass", namespace)  # noqa: S102
    with pytest.raises(sweeper.InputError, match=r"write @sweeper\.trainable\(version=1\)"):
        _ = sweeper.trainable(namespace["hidden"]).version


def test_data_are_told_apart_by_their_content(tmp_path: Path) -> None:
    """Files and folders; where they lie does not matter."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in "ab":
        (tmp_path / folder / "x.csv").write_text("1,2")
    one, two = ([str(tmp_path / folder / "x.csv")] for folder in "ab")
    before = trainables.fingerprint(one)
    assert before == trainables.fingerprint(two)
    folder = trainables.fingerprint([str(tmp_path / "a")])
    (tmp_path / "a" / "x.csv").write_text("1,3")
    assert trainables.fingerprint(one) != before
    assert trainables.fingerprint([str(tmp_path / "a")]) != folder
    with pytest.raises(sweeper.InputError, match=r"gone\.csv': cannot be read"):
        trainables.fingerprint([str(tmp_path / "gone.csv")])


def test_paths_of_data_are_from_the_functions_file(tmp_path: Path) -> None:
    """A plug-in may be named from any folder."""
    module = written(tmp_path)
    made = sweeper.trainable(data="x.csv")(module.mine.function)
    assert made.data == (str(tmp_path / "x.csv"),)


def test_seeds_are_common_to_cells_and_differ_by_name() -> None:
    """A seed depends on data, replicate, name and epoch, and on nothing else."""
    seeds = {
        (data, number, name, epoch): Replicate(number, data).seed(name, epoch)
        for data in ("", "x")
        for number in (0, 1, -1)
        for name in ("init", "order")
        for epoch in (0, 1)
    }
    assert len(set(seeds.values())) == len(seeds)
    assert Replicate(0, "x").seed("init") == seeds["x", 0, "init", 0]
    one, two = (Replicate(3).generator("order", 2).permutation(9) for _ in range(2))
    assert one.tolist() == two.tolist()


def reports(layout: Any = None, after: int = -1) -> tuple[Reporter, list[Reported]]:
    taken: list[Reported] = []
    return Reporter(taken.append, layout=layout, after=after), taken


def test_numbers_are_kept_by_split_metric_and_class() -> None:
    """A number, a list by class or a dictionary by class; NumPy's and PyTorch's as well."""
    import torch

    report, taken = reports()
    report(
        np.int64(0),
        test={"accuracy": torch.tensor(0.5), "recall": {"cat": 0.25, "dog": math.nan}},
        val={"accuracy": np.float32(0.75), "recall": np.array([0.5, 1.0])},
        state={"x": 1},
    )
    [one] = taken
    assert list(one.numbers) == [
        ("val", "accuracy", ""),
        ("val", "recall", "class:0"),
        ("val", "recall", "class:1"),
        ("test", "accuracy", ""),
        ("test", "recall", "class:cat"),
        ("test", "recall", "class:dog"),
    ]
    assert one.numbers["val", "accuracy", ""] == 0.75
    assert one.finite, "a class without samples has no recall"
    assert (one.epoch, one.state) == (0, {"x": 1})


def test_a_number_that_is_not_finite_is_no_error() -> None:
    """The run has diverged, which the engine records."""
    report, taken = reports()
    report(0, val={"loss": math.inf})
    assert not taken[0].finite


@pytest.mark.parametrize(
    ("epoch", "splits", "reason"),
    [
        (0, {"dev": {"a": 1}}, "'dev' is no split"),
        (0, {"tset": {"a": 1}}, "did you mean 'test'"),
        (0, {"val": 0.5}, "val must be a dictionary"),
        (0, {"val": {}}, "has no numbers"),
        (0, {"val": {"a": "0.5"}}, "val a is '0.5', which is no number"),
        (0, {"val": {"a": None}}, "val a is None, which is no number"),
        (0, {"val": {"a b": 1}}, "'a b' is no name of a metric"),
        (-1, {"val": {"a": 1}}, "epoch -1 must be a whole number from 0 on"),
        (0.5, {"val": {"a": 1}}, "epoch 0.5 must be a whole number"),
        (True, {"val": {"a": 1}}, "epoch True must be"),
    ],
)
def test_a_report_that_cannot_be_recorded_is_refused(
    epoch: Any, splits: dict[str, Any], reason: str
) -> None:
    """One line with what is wrong and what is valid."""
    report, taken = reports()
    with pytest.raises(ReportError, match=re.escape(reason)):
        report(epoch, **splits)
    assert taken == []


@pytest.mark.parametrize(
    ("epoch", "splits", "reason"),
    [
        (1, {"val": {"a": 1}}, "epoch 1 comes after epoch 1"),
        (0, {"val": {"a": 1}}, "goes on from replicate.state"),
        (2, {"val": {"b": 1}}, "lacks val a"),
        (2, {"val": {"a": 1, "b": 1}}, "has the new val b"),
        (2, {"val": {"a": [1, 2]}}, "lacks val a"),
    ],
)
def test_later_reports_go_on_with_the_same_metrics(
    epoch: int, splits: dict[str, Any], reason: str
) -> None:
    """Epochs rise, and the first report has declared the metrics."""
    report, _ = reports()
    report(1, val={"a": 1})
    with pytest.raises(ReportError, match=re.escape(reason)):
        report(epoch, **splits)
