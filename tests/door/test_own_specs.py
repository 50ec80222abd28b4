"""A spec with a trainer of its own: free names, and what is found out before a launch."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

import sweeper
from sweeper.design import cell_hash, designs, pack_key
from sweeper.engine.own import OwnMaker
from sweeper.spec.own import OwnConfig, read
from sweeper.trainables import Trainable, fingerprint

BASE: dict[str, Any] = {
    "name": "own",
    "trainer": "mine",
    "fixed": {"epochs": 3, "layers": [8, 8]},
    "scientific": {"optimizer.lr": [1, 0.1], "depth": [1, 2]},
    "objective": "accuracy",
}


def own(**changes: Any) -> sweeper.Spec:
    return sweeper.load_spec({**BASE, **changes})


def test_factors_are_any_names_and_the_function_gets_all_by_name() -> None:
    """Factors and fixed values in one dictionary; decimal levels stay decimal."""
    cells = [one.config.model_dump(mode="json") for one in designs(own())]
    assert cells[0] == {
        "trainer": "mine",
        "data": {},
        "train": {"epochs": 3, "layers": [8, 8], "optimizer.lr": 1.0, "depth": 1},
    }
    assert [one["train"]["depth"] for one in cells] == [1, 2, 1, 2]


def test_a_stored_configuration_is_the_same_cell() -> None:
    """Read back from the database, it has the same hash and key."""
    for one in designs(own()):
        again = read(one.config.model_dump(mode="json"))
        assert isinstance(again, OwnConfig)
        assert cell_hash(again, "epochs", "x", "1") == cell_hash(one.config, "epochs", "x", "1")
        assert pack_key(again) == pack_key(one.config)


def test_the_stored_spec_does_not_speak_of_sweepers_trainer() -> None:
    """Its defaults were never used; nor do other specs speak of a trainer of their own."""
    stored = own().model_dump(mode="json")
    assert (stored["data"], stored["train"], stored["resources"]["pack"]) == ({}, {}, 1)
    assert not {"trainer", "fixed"} & set(sweeper.load_spec("batch_size").model_dump())


def test_blocks_under_fixed_are_dotted_names() -> None:
    """As factors are, so that a fixed value can become a factor; --set names both forms."""
    spec = sweeper.load_spec(
        {**BASE, "fixed": {"data": {"path": "x.csv"}, "a.b": 1}},
        set={"fixed.a.b": 2, "fixed.data.path": "y.csv"},
    )
    assert spec.fixed == {"data.path": "y.csv", "a.b": 2}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"data": {"dataset": "digits"}}, "data: is for Sweeper's trainer"),
        ({"train": {"epochs": 3}}, "train: is for Sweeper's trainer"),
        ({"budget": "steps"}, "budget: is for Sweeper's trainer"),
        ({"resources": {"gpus": "auto"}}, "resources.gpus: 'auto': a trainer of your own is not"),
        ({"trainer": None}, "no such key to vary"),
        ({"objective": "auc"}, "write objective: {metric: auc, direction: maximize}"),
        ({"objective": {"metric": "loss", "direction": "maximize"}}, "direction of loss is min"),
        ({"objective": {"metric": "accuracy", "split": "test"}}, "nothing is ever selected on"),
        ({"scientific": {"lr!": [1, 2]}}, "must be names of letters, digits and _"),
        ({"scientific": {"lr": [1]}}, "a fixed value belongs in fixed"),
        ({"scientific": {"lr": [1, 1.0]}}, "the level is given twice"),
        ({"nuisance": {"epochs": [1, 2]}}, "a budget is stated or varied, never tuned"),
        ({"pruner": "hyperband", "fixed": {}}, "write fixed: {epochs: N}"),
    ],
)
def test_what_is_wrong_is_one_line(changes: dict[str, Any], line: str) -> None:
    """Before anything is started."""
    with pytest.raises(sweeper.SpecError, match=re.escape(line)):
        own(**changes)


def test_fixed_values_need_a_trainer_of_ones_own() -> None:
    """Sweeper's trainer would not read them."""
    with pytest.raises(sweeper.SpecError, match="fixed: needs a trainer of your own"):
        sweeper.load_spec("batch_size", set={"fixed.x": 1})


# --- the first report


def reporting(**splits: Any) -> Callable[..., Any]:
    def function(config: Any, replicate: Any, report: Any) -> None:
        report(0, **splits)
        raise AssertionError("nobody asked for a second epoch")

    return function


def made(function: Callable[..., Any], **changes: Any) -> OwnMaker:
    return OwnMaker(own(**changes), Trainable("mine", function, "1"), before=None)


def test_the_first_report_says_what_is_measured() -> None:
    """The function is stopped there; the objective is read on val where it is reported."""
    score = {"accuracy": 0.5, "recall": [0.1, 0.9]}
    maker = made(reporting(val=score, test=score))
    assert len(maker.layout) == 6
    assert maker.spec.objective.split == "val"
    assert maker.version == "mine 1"
    assert made(reporting(test=score)).spec.objective.split == "test"


def keeping(config: Any, replicate: Any, report: Any) -> None:
    report(0, test={"accuracy": 0.5}, state={"model": object()})


def fails(config: Any, replicate: Any, report: Any) -> None:
    raise KeyError("lr")


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (keeping, "trainer 'mine': report: state at model is a object"),
        (fails, "trainer 'mine' failed before its first report: KeyError: 'lr'"),
        (lambda config, replicate, report: None, "trainer 'mine' has ended without a report"),
        (reporting(dev={"accuracy": 1}), "trainer 'mine': report: 'dev' is no split"),
        (reporting(val={"accuracy": 1}), "is not what the function reports on test"),
        (reporting(test={"auc": 1}), "reports on test; on test it reports auc"),
        (
            reporting(val={"auc": 1}, test={"accuracy": 1}),
            "is not what the function reports on val",
        ),
    ],
)
def test_a_function_that_cannot_be_swept_is_refused(function: Any, line: str) -> None:
    """Before a database or a cluster is touched, with the line of the spec where it has one."""
    with pytest.raises(sweeper.InputError, match=re.escape(line)):
        made(function)


@pytest.mark.parametrize(
    "changes",
    [
        {"nuisance": {"decay": [0.1, 0.2]}},
        {"pruner": "median"},
        {"search": {"method": "tpe", "trials": 4}},
        {"replicates": {"screen": 3}},
    ],
)
def test_nothing_is_selected_without_val(changes: dict[str, Any]) -> None:
    """Whatever selects needs a number that is not the reported one."""
    with pytest.raises(sweeper.SpecError, match="the function reports nothing on val"):
        made(reporting(test={"accuracy": 0.5}), **changes)


def test_the_first_report_is_made_with_a_whole_configuration() -> None:
    """Every factor has its first level, of ranges and tuned factors as well."""
    seen: dict[str, Any] = {}

    def function(config: Any, replicate: Any, report: Any) -> None:
        seen.update(config)
        report(0, val={"accuracy": 0.5}, test={"accuracy": 0.5})

    made(
        function,
        scientific={"depth": {"low": 1, "high": 9}},
        nuisance={"decay": {"low": 0.1, "high": 1.0, "trials": 3}},
        search={"method": "qmc", "trials": 4},
    )
    assert seen == {"epochs": 3, "layers": [8, 8], "depth": 1, "decay": 0.1}


def test_a_function_that_cannot_be_sent_is_refused() -> None:
    """What belongs to this process, such as a lock, is of no use in a worker."""
    lock = threading.Lock()

    def function(config: Any, replicate: Any, report: Any) -> None:
        with lock:
            report(0, val={"accuracy": 0.5}, test={"accuracy": 0.5})

    with pytest.raises(sweeper.InputError, match="'mine' cannot be sent to workers: "):
        made(function)


def test_changed_data_are_named(tmp_path: Any) -> None:
    """As for Sweeper's own data: a launch on other content is refused until it is agreed to."""
    from sweeper.engine.launch_changes import counted

    (tmp_path / "a.csv").write_text("1")
    before = {"files": fingerprint([str(tmp_path / "a.csv")])[1]}
    (tmp_path / "a.csv").write_text("2")
    now = {"files": fingerprint([str(tmp_path / "a.csv")])[1]}
    assert counted(before, now) == "other content in a.csv"
