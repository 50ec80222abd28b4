"""A spec as it should be: what is read, what stands for what, and what it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper import spec
from sweeper.errors import SpecError
from sweeper.spec import Levels, NuisanceRange, Range
from trainers.config import Config

# The example of the README, as a user would write it.
EXAMPLE = """\
name: batch-size-digits
question: Do small batches serve the minority classes, and more so the stronger the imbalance?
data:   {dataset: digits, imbalance: {profile: exponential, train_ratio: 0.05}}
train:  {model: resnet, depth: 8, width: 1, epochs: 30, lr: 0.1, lr_scaling: sqrt, weight_decay: 5.0e-4}
scientific:
  train.batch_size: [2, 8, 32, 128]
  data.imbalance.train_ratio: [1.0, 0.05]
nuisance:
  train.lr: {low: 0.01, high: 1.0, log: true, trials: 6}   # on replicates of its own
replicates: 5
budget: {unit: epochs}
objective: {metric: minority_accuracy, direction: maximize}
search: factorial
pruner: none
resources: {cpus: 1, gpus: 0}
limits: {hours: 2}
"""  # noqa: E501
SMALL = "name: n\nscientific:\n  train.batch_size: [2, 8]\n"


def test_the_example_loads_as_it_is() -> None:
    """The file that the documentation shows is a spec."""
    found = spec.parse(EXAMPLE)
    assert found.scientific["train.batch_size"] == (2, 8, 32, 128)
    assert found.nuisance["train.lr"] == NuisanceRange(low=0.01, high=1.0, log=True, trials=6)
    assert (found.replicates, found.budget.unit, found.limits.hours) == (5, "epochs", 2.0)
    assert found.train.weight_decay == 5e-4


def test_the_text_is_kept_as_written() -> None:
    """The database keeps the user's own words, comments included, whatever was overridden."""
    assert spec.parse(EXAMPLE, overrides=["train.epochs=5"]).text == EXAMPLE


def test_the_resolved_spec_is_json_and_a_spec() -> None:
    """What the database keeps can be read again, and gives the same spec."""
    found = spec.parse(EXAMPLE)
    dumped = json.dumps(found.model_dump(mode="json"))
    again = spec.parse(dumped)
    assert again.model_dump() == found.model_dump()
    assert "text" not in json.loads(dumped)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1.e-3", 0.001),
        (".5", 0.5),
        ("+0.25", 0.25),
        ("1", 1.0),
        ("010", 10.0),
        ("0x10", 16.0),
        ("0o10", 8.0),
    ],
)
def test_numbers_are_those_of_yaml_1_2(written: str, value: float) -> None:
    """Case 7: YAML 1.1 reads 1e-3 as text and 010 as eight."""
    assert spec.parse(f"{SMALL}train: {{lr: {written}}}").train.lr == value


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "2024-01-01", "1_000", "12:30", "0b1"])
def test_words_of_yaml_1_1_stay_text(word: str) -> None:
    """Case 7: nothing is turned into a truth value, a date or a number behind the user's back."""
    assert spec.parse(f"{SMALL}question: {word}").question == word


@pytest.mark.parametrize("word", ["true", "True", "TRUE"])
def test_true_is_true(word: str) -> None:
    """YAML 1.2's own spellings."""
    assert spec.parse(f"{SMALL}train: {{nesterov: {word}}}").train.nesterov is True


@pytest.mark.parametrize(
    ("block", "word", "key"),
    [
        ("search", "{method: qmc, trials: 4}", "method"),
        ("pruner", "asha", "method"),
        ("objective", "accuracy", "metric"),
        ("budget", "epochs", "unit"),
    ],
)
def test_a_word_stands_for_the_first_key_of_its_block(block: str, word: str, key: str) -> None:
    """`pruner: asha` is `pruner: {method: asha}`."""
    mapping = word if word.startswith("{") else f"{{{key}: {word}}}"
    short, long = (spec.parse(f"{SMALL}{block}: {text}") for text in (word, mapping))
    assert getattr(short, block) == getattr(long, block)
    assert short.model_dump() == long.model_dump()


@pytest.mark.parametrize(("metric", "direction"), [("accuracy", "maximize"), ("loss", "minimize")])
def test_the_direction_follows_from_the_metric(metric: str, direction: str) -> None:
    """The key is optional; if it is present, it must be correct (test_bad_specs)."""
    objective = spec.parse(f"{SMALL}objective: {metric}").objective
    assert (objective.direction, objective.split) == (direction, "val")


@pytest.mark.parametrize(
    ("val", "split"), [("pool", "val"), ("test", "val"), ("none", "test"), ("{from: none}", "test")]
)
def test_the_objective_says_on_which_split_it_is_read(val: str, split: str) -> None:
    """The stored spec has it, so that no reader has to guess; none leaves the test split only."""
    assert spec.parse(f"{SMALL}data: {{val: {val}}}").objective.split == split


def test_levels_are_held_as_their_field_holds_them() -> None:
    """1 and 1.0 are one width and one cell; whole numbers stay whole for whole fields."""
    text = "name: n\nscientific:\n  train.width: [1, 2]\n  train.batch_size: [2, 8]\n"
    found = spec.parse(text)
    assert list(map(type, found.scientific["train.width"])) == [float, float]
    assert list(map(type, found.scientific["train.batch_size"])) == [int, int]


def test_the_ends_of_a_range_are_held_as_their_field_holds_them() -> None:
    """A range from 1 to 2 over widths is not a range of whole numbers."""
    text = "name: n\nscientific:\n  train.width: {low: 1, high: 2, levels: 3}\n"
    assert spec.parse(text).scientific["train.width"] == Range(low=1.0, high=2.0, levels=3, when={})


def test_unsorted_levels_are_kept_in_order() -> None:
    """Case 9: the first level is the reference in the user's mind; nothing sorts it away."""
    text = "name: n\nscientific:\n  train.batch_size: [8, 2, 4]\n"
    assert spec.parse(text).scientific["train.batch_size"] == (8, 2, 4)


def test_a_conditional_factor_takes_one_level_or_several() -> None:
    """`when: {a: 1}` is `when: {a: [1]}`, and its levels are held as the parent's."""
    text = (
        "name: n\nscientific:\n  train.sam.radius: [0, 1]\n"
        "  train.sam.asymmetry: {levels: [0, 1], when: {train.sam.radius: %s}}\n"
    )
    one, several = (spec.parse(text % level) for level in ("1", "[1.0]"))
    assert one.scientific == several.scientific
    assert one.scientific["train.sam.asymmetry"] == Levels(
        levels=(0.0, 1.0), when={"train.sam.radius": (1.0,)}
    )


def test_a_reference_is_held_as_its_factors_level() -> None:
    """From the file or `--set`; a range must have levels to compare with one of them."""
    text = "name: n\nscientific:\n  train.sam.radius: [0.0, 1.0]\n  train.lr: {}\n".format
    found = spec.parse(text("[0.1, 0.2]") + "reference: {train.sam.radius: 1}\n")
    assert repr(found.reference) == "{'train.sam.radius': 1.0}"
    found = spec.parse(text("[0.1, 0.2]"), "s", ["reference.train.lr=0.2"])
    assert found.model_dump(mode="json")["reference"] == {"train.lr": 0.2}
    drawn = text("{low: 0.1, high: 1.0}") + "search: {method: qmc, trials: 4}\n"
    with pytest.raises(SpecError, match="is a range; give it levels to compare with one"):
        spec.parse(drawn + "reference: {train.lr: 0.1}\n")


def test_one_replicate_is_warned_of() -> None:
    """Case 14: it may be meant, for a first look, but no interval can come of it."""
    assert spec.parse(SMALL + "replicates: 1\n", "s.yaml").warnings == (
        "s.yaml:4: replicates: 1: with one replicate no interval can be given",
    )
    assert spec.parse(SMALL).warnings == ()


def test_overrides_reach_every_place() -> None:
    """`--set` sets keys, whole blocks, factors, and one key of a factor's range."""
    found = spec.parse(
        EXAMPLE,
        overrides=[
            "train.epochs=5",
            "resources.gpus=0.5",
            "scientific.train.batch_size=[2, 4]",
            "scientific.train.width=[0.5, 1]",
            "nuisance.train.lr.trials=3",
            "search={method: qmc, trials: 4}",
            "question=Is 1 = 1?",
        ],
    )
    assert (found.train.epochs, found.resources.gpus, found.search.trials) == (5, 0.5, 4)
    assert found.scientific["train.batch_size"] == (2, 4)
    assert found.scientific["train.width"] == (0.5, 1.0)
    assert found.nuisance["train.lr"] == NuisanceRange(low=0.01, high=1.0, log=True, trials=3)
    assert found.question == "Is 1 = 1?"


def test_the_share_of_a_gpu_is_no_part_of_a_run() -> None:
    """A sweep goes on with another share, and keeps its numbers."""
    found = {
        gpus: spec.parse(SMALL, overrides=[f"resources.gpus={gpus}"])
        for gpus in ("auto", "1", "0.25")
    }
    assert len({one.config_for({}).model_dump_json() for one in found.values()}) == 1
    assert {one.config_for({}).train.precision for one in found.values()} == {"bfloat16"}
    auto = found["auto"].resources
    assert (auto.gpus, auto.gpus_while_timing, auto.on_gpu) == ("auto", 1.0, True)
    quarter = found["0.25"].resources
    assert (quarter.gpus_while_timing, quarter.on_gpu) == (0.25, True)
    assert not spec.parse(SMALL).resources.on_gpu


def test_an_override_makes_the_block_it_needs() -> None:
    """The command line can set a limit that the spec does not have."""
    assert spec.parse(SMALL, overrides=["limits.hours=0.5"]).limits.hours == 0.5


def test_config_for_puts_levels_in_their_places() -> None:
    """A cell's configuration is the stated one, but for its factors."""
    found = spec.parse(EXAMPLE)
    levels = {"train.batch_size": 2, "data.imbalance.train_ratio": 1.0, "train.sam.radius": 0.1}
    config = found.config_for(levels)
    expected = json.loads(Config(data=found.data, train=found.train).model_dump_json())
    expected["train"]["batch_size"] = 2
    expected["train"]["sam"]["radius"] = 0.1
    expected["data"]["imbalance"]["train_ratio"] = 1.0
    assert json.loads(config.model_dump_json()) == expected


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("train.batch_size", 32, "s.yaml:6: scientific.train.batch_size: 32: no"),
        ("train.batch_size", 64, "s.yaml:6: scientific.train.batch_size: 64: no"),
        ("train.lr", 0.5, "s.yaml:9: nuisance.train.lr: 0.5: no"),
        ("train.model", "resnet", "s.yaml:4: train.model: 'resnet': no"),
        ("data.path", "x", "s.yaml:3: data.path: 'x': no"),
        ("limits.attempts", 3, "s.yaml:16: limits.attempts: 3: no"),
    ],
)
def test_what_only_the_data_can_tell_points_into_the_file(
    key: str, value: object, line: str
) -> None:
    """A refusal by the trainer has the usual form: at the factor's level, or at the key."""
    assert str(spec.parse(EXAMPLE, "s.yaml").problem(key, value, "no")) == line


def test_the_reference_is_current() -> None:
    """docs/spec.md is generated: `python -c "from sweeper import spec; print(spec.markdown())"`."""
    written = Path(__file__).parents[2] / "docs" / "spec.md"
    assert written.read_text("utf-8") == spec.markdown()


def test_the_reference_names_every_key() -> None:
    """A key that is not in docs/spec.md does not exist for the user."""

    def keys(schema: dict[str, Any]) -> set[str]:
        return {key for part in schema["$defs"].values() for key in part.get("properties", ())}

    schema = spec.json_schema()
    missing = {key for key in keys(schema) if f"`{key}`" not in spec.markdown()}
    assert missing == set()


def test_the_schema_documents_every_key_and_refuses_others() -> None:
    """Editors complete and check with it."""
    schema = spec.json_schema()
    blocks = [schema, *schema["$defs"].values()]
    named = schema["$defs"]["NamedCell"]  # its other keys are dotted paths
    assert all(block["additionalProperties"] is False for block in blocks if block is not named)
    assert {"type": "number"} in named["additionalProperties"]["anyOf"]
    for block in blocks:
        for key, field in block["properties"].items():
            assert field.get("description"), key


@pytest.mark.parametrize(
    ("written", "first", "most", "kept"),
    [
        ("7", 7, 7, 7),
        ("{target: 0.01}", 5, 20, {"target": 0.01, "max": 20, "start": 5}),
        ("{target: 0.02, max: 9, start: 8}", 8, 9, {"target": 0.02, "max": 9, "start": 8}),
        ("{looks: [6, 12]}", 6, 12, {"looks": [6, 12]}),
        ("{screen: 3}", 3, 8, {"screen": 3, "confirm": 5, "keep": None}),
        ("{screen: 4, confirm: 6, keep: 9}", 4, 10, {"screen": 4, "confirm": 6, "keep": 9}),
    ],
)
def test_replicates_are_a_number_or_a_plan(written: str, first: int, most: int, kept) -> None:
    """A plan's first stage is the number that runs from the start; the database keeps the plan."""
    found = spec.parse(f"{SMALL}replicates: {written}")
    assert (found.replicates, found.most_replicates) == (first, most)
    assert (found.precision is None) == isinstance(kept, int)
    dumped = json.loads(json.dumps(found.model_dump(mode="json")))
    assert dumped["replicates"] == kept
    assert spec.parse(json.dumps(dumped)).model_dump() == found.model_dump()


def test_a_plan_is_overridden_whole_or_by_its_keys() -> None:
    """`--set replicates=14` ends a plan; `--set replicates.max=30` changes it."""
    text = f"{SMALL}replicates: {{target: 0.01}}"
    assert spec.parse(text, overrides=["replicates=14"]).precision is None
    assert spec.parse(text, overrides=["replicates.max=30"]).most_replicates == 30
    assert spec.parse(SMALL, overrides=["replicates={looks: [5, 9]}"]).most_replicates == 9
