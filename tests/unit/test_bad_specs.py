"""Everything that is wrong in a spec has its line: file, line, key, value, what is wrong."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper import spec
from sweeper.errors import SpecError
from sweeper.spec.models import NAME_RULE
from trainers.config import OBJECTIVES

BASE = "name: n\nscientific:\n  train.batch_size: [2, 8]\n"
COMPARED = "name: n\ncompare:\n  - {name: A, train.lr: 0.1}\n  - {name: B, train.lr: 0.2}\n"
CONDITION = (
    "name: n\nscientific:\n  train.batch_size: [2, 8]\n  train.sam.radius: [0.0, 0.1]\n"
    "  train.sam.asymmetry: {{levels: [0.0, 1.0], when: {}}}\n"
)


def table(section: str) -> list[tuple[str, list[str]]]:
    """(input, lines of the message) of each entry in one section of bad_specs.txt."""
    text = Path(__file__).with_name("bad_specs.txt").read_text("utf-8")
    [block] = [part for part in text.split("\n## ") if part.startswith(f"{section}:")]
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines()[1:]:
        if line.startswith("    "):
            found[-1][1].append(line.strip().replace("NAME_RULE", NAME_RULE))
        elif line:
            found.append((line, []))
    assert all(told for _, told in found)
    return found


def at(where: str, lines: list[str]) -> str:
    """The message that has these lines, each about the same line of the file."""
    return "\n".join(f"{where}: {line}" for line in lines)


def outcome(text: str) -> tuple[str, ...]:
    """The lines that a text gives, none when it is a spec."""
    try:
        spec.parse(text, "s.yaml")
    except SpecError as error:
        return error.lines
    return ()


def message(text: str, overrides: tuple[str, ...] = ()) -> str:
    """What a wrong spec gives."""
    with pytest.raises(SpecError) as caught:
        spec.parse(text, "s.yaml", overrides)
    assert caught.value.exit_code == 2
    assert all(line.isprintable() for line in caught.value.lines)
    return "\n".join(caught.value.lines)


@pytest.mark.parametrize(("line", "expected"), table("keys"))
def test_a_wrong_value_names_its_line_key_and_what_is_accepted(
    line: str, expected: list[str]
) -> None:
    """Cases 3, 7 to 15: values of the wrong type, range, or meaning."""
    assert message(BASE + line + "\n") == at("s.yaml:4", expected)


FIX = "set data.val: test (a part of the test split) or pool"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("objective: {metric: accuracy, split: val}",
         f"objective.split: 'val': data.val is none, so no split is val; {FIX}"),
        ("nuisance: {train.lr: {low: 0.1, high: 1, trials: 3}}",
         "nuisance.train.lr: is tuned on the validation split, and data.val is none; "
         f"{FIX}, or state a value"),
        ("search: {method: tpe, trials: 9}",
         "search.method: 'tpe': learns from the validation split, and data.val is none; "
         f"{FIX}, or use qmc"),
        ("search: {method: gp, trials: 9}",
         "search.method: 'gp': learns from the validation split, and data.val is none; "
         f"{FIX}, or use qmc"),
        *[(f"pruner: {{method: {method}}}",
           f"pruner.method: '{method}': judges cells on the validation split, and data.val is "
           f"none; {FIX}, or use none") for method in ("asha", "hyperband", "median", "wilcoxon")],
        ("replicates: {screen: 3, confirm: 6}",
         "replicates.screen: 3: drops cells by the validation split, and data.val is none; "
         f"{FIX}, or write replicates: 6"),
    ],
)  # fmt: skip
def test_without_validation_whatever_selects_is_refused_by_name(line: str, expected: str) -> None:
    """Its key, its value and the two ways out; nothing is ever selected on the test split."""
    assert message(f"{BASE}{line}\ndata: {{val: none}}\n") == f"s.yaml:4: {expected}"
    assert outcome(f"{BASE}{line}\ndata: {{val: test}}\n") == ()


@pytest.mark.parametrize(("line", "expected"), table("factors"))
def test_a_wrong_factor_names_its_line_and_level(line: str, expected: list[str]) -> None:
    """Cases 9 and 10: each level is held against the field that it would fill."""
    assert message(f"name: n\nscientific:\n  {line}\n") == at("s.yaml:3", expected)


@pytest.mark.parametrize(("line", "expected"), table("conditions"))
def test_a_wrong_condition_names_its_parent(line: str, expected: list[str]) -> None:
    """Case 13: unknown parents, levels that the parent has not, and circles."""
    assert message(CONDITION.format(line)) == at("s.yaml:5", expected)


@pytest.mark.parametrize(("line", "expected"), table("compare"))
def test_a_wrong_named_cell_is_named(line: str, expected: list[str]) -> None:
    """Names and cells that are given twice, keys that cannot be compared, too few cells."""
    assert message(f"name: n\ncompare: {line}\n") == at("s.yaml:2", expected)


@pytest.mark.parametrize(("line", "expected"), table("names"))
def test_a_wrong_name_is_refused_in_full(line: str, expected: list[str]) -> None:
    """Case 16: no name can leave a folder, deceive a reader or break a page."""
    assert message(BASE.replace("name: n", f"name: {line}")) == at("s.yaml:1", expected)


@pytest.mark.parametrize(("line", "expected"), table("overrides"))
def test_a_wrong_override_is_quoted(line: str, expected: list[str]) -> None:
    """Case 17: `--set` malformed, unknown, of the wrong type, given twice, or without effect."""
    assert message(BASE, tuple(line.split("; "))) == "\n".join(expected)


WHOLE = {
    "empty": ("", "s.yaml:1: the file is empty; `sweeper init` writes an example"),
    "a comment": ("# x\n", "s.yaml:1: the file is empty; `sweeper init` writes an example"),
    "an empty list": ("[]\n", "s.yaml:1: the file is a list, a spec is a block of keys"),
    "one value": ("7\n", "s.yaml:1: the file is one value, a spec is a block of keys"),
    "two documents": (BASE + "---\n" + BASE, "s.yaml:4: a second document, a spec is one"),
    "binary": ("a: 1\0", "s.yaml: is a binary file, a spec is YAML text"),
    "a tab": ("name: n\ndata:\n\tx: 1\n", "s.yaml:3: not YAML: a tab; indent with spaces"),
    "cut off": ("a: [1\n", "s.yaml:2: not YAML: expected ',' or ']', but got '<stream end>'"),
    "YAML 1.1": ("%YAML 1.1\n---\n" + BASE, "s.yaml:2: %YAML: only version 1.2 is read"),
    "newer": (BASE + "version: 2\nx: 1\n", "s.yaml:4: version: 2: this Sweeper reads version 1; a newer one wrote this"),  # noqa: E501
    "older": (BASE + "version: 0\n", "s.yaml:4: version: 0: must be 1"),
    "key twice": (BASE + "name: m\n", "s.yaml:4: name: the key is given twice, first at s.yaml:1"),
    "key twice inside": (
        "train: {lr: 0.1,\n  lr: 0.2}\n",
        "s.yaml:2: train.lr: the key is given twice, first at s.yaml:1",
    ),
    "key missing": (
        "name: n\n",
        "s.yaml:1: scientific: name at least one factor; the question is about it",
    ),
    "a tag": (BASE + "question: !!str x\n", "s.yaml:4: question: the tag '!!str': tags are not allowed"),  # noqa: E501
    "a tag that imports": (
        BASE + "question: !!python/object:os.system x\n",
        "s.yaml:4: question: the tag '!!python/object:os.system': tags are not allowed",
    ),
    "a tag on a key": (BASE + "!!str x: 1\n", "s.yaml:4: the tag '!!str': tags are not allowed"),
    "a tag on a block": (BASE + "train: !x {lr: 1}\n", "s.yaml:4: train: the tag '!x': tags are not allowed"),  # noqa: E501
    "an anchor in itself": ("a: &x [*x]\n", "s.yaml:1: the anchor 'x' contains itself"),
    "an anchor in its block": ("a: &x\n  b: *x\n", "s.yaml:2: the anchor 'x' contains itself"),
    "no anchor": ("a: *y\n", "s.yaml:1: no anchor 'y' before this line"),
    "a key that is a list": ("? [a]\n: 1\n", "s.yaml:1: a key must be a word"),
    "3,000 brackets": ("a: " + "[" * 3000, "s.yaml:1: nested deeper than 20 levels"),
    "3,000 braces": ("a: " + "{b: " * 3000, "s.yaml:1: nested deeper than 20 levels"),
    "3,000 dashes": ("- " * 3000 + "x", "s.yaml:1: nested deeper than 20 levels"),
    "a number of 5,000 digits": (
        BASE + f"replicates: {'9' * 5000}\n",
        f"s.yaml:4: replicates: '{'9' * 60}... (5000 characters)': "
        "a whole number must be below 9,007,199,254,740,992",
    ),
    "NUL by escape": (
        'name: "a\\0b"\n' + BASE,
        r"s.yaml:1: name: 'a\x00b': a control character is not allowed in text",
    ),
    "half a character": (
        'name: "a\\ud800b"\n' + BASE,
        r"s.yaml:1: name: 'a\ud800b': a control character is not allowed in text",
    ),
    "a name of 5,000": (
        BASE.replace("name: n", f"name: {'x' * 5000}"),
        f"s.yaml:1: name: '{'x' * 60}... (5000 characters)': {NAME_RULE}",
    ),
    "too many cells": (
        "name: n\nscientific:\n"
        + "".join(
            f"  train.{key}: {{low: 0.1, high: 0.9, levels: 1000}}\n"
            for key in ("lr", "momentum", "weight_decay")
        ),
        "s.yaml:2: scientific: 1,000,000,000 cells, the limit is 100,000; use fewer levels, or "
        "search: {method: qmc, trials: 100}",
    ),
    "too small a step": (
        "name: n\nscientific:\n  train.lr: {low: 1.0e-9, high: 1, step: 1.0e-9}\n",
        "s.yaml:2: scientific: 1,000,000,000 cells, the limit is 100,000; use fewer levels, or "
        "search: {method: qmc, trials: 100}",
    ),
    "no factor": (
        "name: n\nscientific: {}\n",
        "s.yaml:2: scientific: name at least one factor; the question is about it",
    ),
    "a compared key that is a factor": (
        COMPARED + "scientific: {train.lr: [0.1, 0.2]}\n",
        "s.yaml:3: compare.train.lr: 0.1: is also a scientific factor; a key has one role, so "
        "remove one of them\n"
        "s.yaml:4: compare.train.lr: 0.2: is also a scientific factor; a key has one role, so "
        "remove one of them",
    ),
    "a compared key that is tuned": (
        COMPARED.replace("train.lr: 0.2", "train.depth: 14") + "nuisance: {train.lr: [0.1, 0.2]}\n",
        "s.yaml:3: compare.train.lr: 0.1: is also a nuisance factor; a key has one role, so "
        "remove one of them",
    ),
    "named cells under an adaptive search": (
        COMPARED + "search: {method: tpe, trials: 9}\n",
        "s.yaml:5: search.method: 'tpe': chooses its own cells, and compare lists them; write "
        "search: factorial",
    ),
    "a factor that depends on named cells": (
        COMPARED + "scientific: {train.depth: {levels: [8, 14], when: {compare: A}}}\n",
        "s.yaml:5: scientific.train.depth.when.compare: named cells have no factors of their own; "
        "write its level into their entries",
    ),
    "a factor with the name of named cells": (
        COMPARED + "scientific: {compare: [a, b]}\n",
        "s.yaml:5: scientific.compare: is the factor that compare makes; use another name",
    ),
    "an unknown reference cell": (
        COMPARED + "reference: {compare: C}\n",
        "s.yaml:5: reference.compare: 'C': is not a level of the factor; its levels are A, B",
    ),
    "a circle of conditions": (
        "name: n\nscientific:\n"
        "  train.sam.radius: {levels: [0.0, 0.1], when: {train.sam.asymmetry: 1.0}}\n"
        "  train.sam.asymmetry: {levels: [0.0, 1.0], when: {train.sam.radius: 0.1}}\n",
        "s.yaml:3: scientific.train.sam.radius.when: forms a cycle: "
        "train.sam.radius -> train.sam.asymmetry -> train.sam.radius",
    ),
    "conditions that exclude each other": (
        "name: n\nscientific:\n  train.batch_size: [2, 8]\n"
        "  train.sam.radius: {levels: [0.0, 0.1], when: {train.batch_size: 2}}\n"
        "  train.sam.asymmetry:\n    levels: [0.0, 1.0]\n"
        "    when: {train.sam.radius: 0.1, train.batch_size: 8}\n",
        "s.yaml:7: scientific.train.sam.asymmetry.when: never true, the conditions contradict "
        "each other on train.batch_size",
    ),
    "a tuned adaptive search": (
        BASE + "search: {method: tpe, trials: 4}\n"
        "nuisance: {train.lr: {low: 0.1, high: 1, trials: 2}}\n",
        "s.yaml:5: nuisance: tpe tunes by itself; make these factors scientific",
    ),
    "CMA-ES without a range": (
        BASE + "search: {method: cma_es, trials: 4}\n",
        "s.yaml:4: search.method: 'cma_es': learns from ranges of numbers, and no factor is one; "
        "write a factor such as train.lr: {low: 0.01, high: 1.0, log: true}, or use tpe",
    ),
    "Wilcoxon's test of too few pairs": (
        BASE + "pruner: wilcoxon\nreplicates: 3\n",
        "s.yaml:5: replicates: 3: pruner: wilcoxon compares in pairs, and fewer than 4 replicates "
        "never give p < 0.1; write replicates: 4 or more, or pruner: median",
    ),
    "first points of a grid": (
        BASE + "first: [{train.lr: 0.1}]\n",
        "s.yaml:4: first: is for an adaptive search, and factorial plans its cells; use search: "
        "{method: tpe, trials: 30}, or leave it out\n"
        "s.yaml:4: first.train.lr: no such scientific factor; valid: train.batch_size",
    ),
    "a first point outside of the space": (
        BASE + "first: [{train.batch_size: 7}]\nsearch: {method: tpe, trials: 4}\n",
        "s.yaml:4: first.train.batch_size: 7: is not in the search space; write a level of "
        "scientific.train.batch_size",
    ),
    "several objectives with a pruner": (
        BASE + "objectives: [minority_accuracy, majority_accuracy]\npruner: asha\n",
        "s.yaml:5: pruner.method: 'asha': judges cells by one objective alone, which does not fit "
        "objectives; use none",
    ),
    "a constraint under CMA-ES": (
        "name: n\nscientific: {train.lr: {low: 0.01, high: 1.0, log: true}}\n"
        "constraints: {loss: '<= 0.5'}\nsearch: {method: cma_es, trials: 4}\n",
        "s.yaml:4: search.method: 'cma_es': learns from one objective alone, which does not fit "
        "constraints; use tpe, gp, nsga2 or nsga3",
    ),
    "a constraint without a bound": (
        BASE + "constraints: {majority_accuracy: 0.9}\n",
        "s.yaml:4: constraints.majority_accuracy: 0.9: must be \">= NUMBER\" or \"<= NUMBER\", "
        "in quotes, such as \">= 0.9\"",
    ),
    "a plan without pairs": (
        BASE + "replicates: {target: 0.01}\nsearch: {method: tpe, trials: 4}\n",
        "s.yaml:4: replicates: a plan needs search: factorial, to compare in pairs; write a "
        "number, such as 5",
    ),
    "a plan with a pruner": (
        BASE + "pruner: asha\nreplicates: {looks: [6, 12]}\n",
        "s.yaml:5: replicates: a plan needs pruner: none, since cells that stop early cannot be "
        "compared; write a number, such as 6",
    ),
    "a plan without a whole grid": (
        CONDITION.format("{train.sam.radius: 0.1}") + "replicates: {target: 0.02}\n",
        "s.yaml:6: replicates: a plan needs a whole grid, without `when`; write a number, such as "
        "5",
    ),
    "screening of an adaptive search": (
        BASE + "replicates: {screen: 3}\nsearch: {method: tpe, trials: 4}\n",
        "s.yaml:4: replicates.screen: 3: tpe chooses its own cells; screening needs search: "
        "factorial, random or qmc, or write replicates: 5",
    ),
    "screening with a pruner": (
        BASE + "pruner: asha\nreplicates: {screen: 4, confirm: 6}\n",
        "s.yaml:5: replicates.screen: 4: pruner: asha stops cells early; screening needs pruner: "
        "none, or write replicates: 6",
    ),
    "screening of too many cells": (
        "name: n\nscientific:\n  train.lr: {low: 0.01, high: 1, log: true}\n"
        "search: {method: qmc, trials: 5000}\nreplicates: {screen: 3}\n",
        "s.yaml:5: replicates.screen: every pair of cells is compared, of at most 1,000, and these "
        "are 5,000; use search: {method: qmc, trials: 200}",
    ),
    "screening over conditions": (
        "name: n\nscientific:\n  data.imbalance.train_ratio: [1.0, 0.1]\n"
        "replicates: {screen: 3}\n",
        "s.yaml:4: replicates.screen: 3: data.imbalance.train_ratio is a condition that cells "
        "meet, and cells of other conditions are not better or worse answers; state one level of "
        "it, or write replicates: 5",
    ),
    "pruning across budgets": (
        "name: n\nscientific:\n  train.epochs: [2, 4]\npruner: asha\n",
        "s.yaml:4: pruner: 'asha': cells of different train.epochs cannot be compared at the same "
        "epoch",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WHOLE.values(), ids=WHOLE.keys())
def test_a_document_that_is_no_spec_is_refused(text: str, expected: str) -> None:
    """Cases 1, 4 to 6, 10, 13 and 19: the shape of the file, before its values."""
    assert message(text) == expected


MANY_WRONG = """\
nmae: n
version: 1
data: {dataset: digits, pathh: a.csv}
train:
  epochs: many
  batch_size: 0
  norm: bath
scientific:
  train.lr: [0.1, -1]
  train.batchsize: [2, 8]
  train.sam.radius: {low: 1}
nuisance:
  train.weight_decay: {low: 1, high: 0.1, trials: 3}
objective: auc
pruner: ahsa
replicates: 0
"""
THEIR_LINES = """\
--set 'train.lr=1': train.lr: is a scientific factor; set scientific.train.lr to change its levels
--set 'train.momentum=': train.momentum: has no value; write null for none
s.yaml:1: nmae: no such key; did you mean 'name'?
s.yaml:3: data.pathh: no such key; did you mean 'path'?
s.yaml:5: train.epochs: 'many': must be a whole number, 1 to 1,000,000
s.yaml:6: train.batch_size: 0: must be a whole number, 1 to 4,096
s.yaml:7: train.norm: 'bath': must be one of batch, group, layer, none; did you mean 'batch'?
s.yaml:9: scientific.train.lr: -1: must be a number, above 0
s.yaml:10: scientific.train.batchsize: no such key to vary; did you mean 'train.batch_size'?
s.yaml:11: scientific.train.sam.radius.high: is missing
s.yaml:13: nuisance.train.weight_decay.low: 1: low must be below high, 0.1
s.yaml:14: objective.metric: 'auc': no such metric; valid: METRICS
s.yaml:15: pruner.method: 'ahsa': must be one of METHODS; did you mean 'asha'?
s.yaml:16: replicates: 0: must be a whole number, 1 to 1,000""".replace(
    "METRICS", ", ".join(sorted(OBJECTIVES))
).replace("METHODS", "none, asha, hyperband, median, wilcoxon, tune")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """In the order of the file's lines; a misspelt `name` is not also missing."""
    found = message(MANY_WRONG, ("train.lr=1", "train.momentum="))
    assert found == THEIR_LINES


def test_every_rule_that_is_broken_is_told() -> None:
    """Rules between keys, of a file whose keys and values are right one by one."""
    text = BASE + "search: qmc\nbudget: steps\nreference: {train.lr: 1}\n"
    assert message(text).splitlines() == [
        "s.yaml:4: search: 'qmc': needs trials: {method: qmc, trials: 16}",
        "s.yaml:5: budget: 'steps': train.steps must say how many",
        "s.yaml:6: reference.train.lr: no such scientific factor; valid: train.batch_size",
    ]


def test_the_lines_of_a_hopeless_file_are_counted() -> None:
    """Twenty are enough to read."""
    keys = "".join(f"key{number}: 1\n" for number in range(30))
    assert message(BASE + keys).splitlines()[20:] == ["and 10 more"]


def test_aliases_are_counted_expanded() -> None:
    """Case 6: nine anchors of nine aliases each would be 387 million values."""
    lines = ["a0: &a0 [1, 2, 3]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert message("\n".join(lines)) == "s.yaml:5: more than 20,000 values, aliases expanded"


def test_an_honest_alias_is_followed() -> None:
    """Refusing cycles must not refuse what anchors are for."""
    text = "name: n\ntrain: {batch_size: &b 16, lr_batch: *b}\nscientific: {train.lr: [0.1, 0.2]}\n"
    assert spec.parse(text).train.lr_batch == 16


class TestFiles:
    """Cases 1 and 2: what the path leads to, before anything is parsed."""

    def line(self, path: Path | str) -> str:
        with pytest.raises(SpecError) as caught:
            spec.load(path)
        return str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        """A path that leads nowhere."""
        path = tmp_path / "no.yaml"
        assert self.line(path) == f"{path}: cannot be read: no such file or directory"

    def test_directory(self, tmp_path: Path) -> None:
        """A folder is not a spec."""
        assert self.line(tmp_path) == f"{tmp_path}: cannot be read: is a directory"

    def test_pipe_does_not_hang(self, tmp_path: Path) -> None:
        """Opening a pipe that nobody writes to would wait for ever."""
        path = tmp_path / "pipe"
        os.mkfifo(path)
        assert self.line(path) == f"{path}: is a pipe or a device, a spec is a regular file"

    def test_socket(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A socket is no file either; it cannot even be opened."""
        monkeypatch.chdir(tmp_path)  # the address of a socket is at most 107 bytes
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s")
            assert self.line("s") == "s: cannot be read: no such device or address"

    def test_symlink_loop(self, tmp_path: Path) -> None:
        """A link to itself."""
        path = tmp_path / "loop.yaml"
        path.symlink_to(path)
        assert self.line(path) == f"{path}: cannot be read: too many levels of symbolic links"

    def test_too_large(self, tmp_path: Path) -> None:
        """100 MB are refused without being read."""
        path = tmp_path / "big.yaml"
        with path.open("wb") as file:
            file.truncate(100_000_000)
        assert self.line(path) == f"{path}: is larger than 1,000,000 bytes, that is not a spec"

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, tmp_path: Path) -> None:
        """A file of somebody else's."""
        path = tmp_path / "secret.yaml"
        path.write_text(BASE)
        path.chmod(0)
        assert self.line(path) == f"{path}: cannot be read: permission denied"

    def test_refused_by_the_system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As above, where the tests run as root: the system's own words, lower case."""

        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        assert self.line("a.yaml") == "a.yaml: cannot be read: permission denied"

    def test_nul_in_the_path(self) -> None:
        """Python raises ValueError for it, not OSError."""
        assert self.line("a\0b") == r"a\x00b: cannot be read: embedded null byte"

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (BASE.encode("utf-16"), ": is UTF-16, save it as UTF-8"),
            (b"\x89PNG\r\n\x1a\n\0\0", ": is a binary file, a spec is YAML text"),
            (b"name: n\nquestion: \xff\n", ":2: is not UTF-8 text"),
        ],
    )
    def test_other_encodings(self, tmp_path: Path, data: bytes, expected: str) -> None:
        """Guessing an encoding would misread the names."""
        path = tmp_path / "s.yaml"
        path.write_bytes(data)
        assert self.line(path) == f"{path}{expected}"

    def test_a_byte_order_mark_is_skipped(self, tmp_path: Path) -> None:
        """Editors on Windows write this mark; it is no part of the first key."""
        path = tmp_path / "s.yaml"
        path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
        assert spec.load(path).name == "n"


@settings(max_examples=150)
@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever the file holds: a spec, or printable lines."""
    assert all(line.isprintable() for line in outcome(text))


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(spec.SpecFile.model_fields)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
        ),
        max_leaves=5,
    ),
)
def test_no_value_breaks_the_checks(key: str, value: object) -> None:
    """Any JSON value at any key: a spec, or printable lines."""
    lines = [line for line in BASE.splitlines() if not line.startswith(f"{key}:")]
    text = "\n".join([*lines, f"{key}: {json.dumps(value)}"])
    assert all(line.isprintable() for line in outcome(text))
