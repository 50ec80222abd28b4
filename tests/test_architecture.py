"""The shape of the code: who may import whom, what a look at --help costs, what is never called."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import HANG

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "sweeper").rglob("*.py"), *(ROOT / "trainers").rglob("*.py")])

REPEATED = {"Columns", "Mark", "Price", "Runs", "Sweep"}  # class names of several files: add none
FORBIDDEN_IMPORTS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "yaml.load", "torch.load", "os.system", "os.popen"}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=HANG
    )


def test_imports_run_downwards() -> None:
    """import-linter's contracts in pyproject.toml: layers, and what each part must not reach."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    ran = python("-c", code, "--no-cache")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " 0 broken" in ran.stdout


PLANTED = [
    ("sweeper/states.py", "sweeper.spec"),
    ("sweeper/spec/extra.py", "sweeper.plan"),
    ("trainers/extra.py", "sweeper.errors"),
    ("trainers/extra.py", "optuna"),
    ("sweeper/engine/worker.py", "sweeper.store.records"),
    ("sweeper/report/extra.py", "ray"),
    ("sweeper/train.py", "sweeper.store"),
]


def linted_with(planted: list[tuple[str, str]], folder: Path) -> str:
    """Returns what import-linter prints about a copy of the code with these imports added."""
    for path in SOURCES:
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (folder / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for importer, imported in planted:
        with (folder / importer).open("a", encoding="utf-8") as file:
            file.write(f"\nimport {imported}\n")
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return ran.stdout


def test_every_planted_violation_is_found(tmp_path: Path) -> None:
    """A contract that nothing can break protects nothing."""
    found = linted_with(PLANTED, tmp_path)
    for importer, imported in PLANTED:
        module = importer.removesuffix(".py").replace("/", ".")
        assert f"{module} -> {imported} (" in found, (importer, imported)


def test_a_part_that_no_layer_lists_is_found(tmp_path: Path) -> None:
    """A new part must be given its place among the layers."""
    assert "not listed" in linted_with([("sweeper/surplus.py", "json")], tmp_path)


def test_each_class_has_a_name_of_its_own() -> None:
    """One name has one meaning in all files; a `Sweep` is a record, and the view of a record."""
    names = Counter(
        node.name
        for path in SOURCES
        if "class " in (source := path.read_text("utf-8"))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in names.items() if count > 1} <= REPEATED


def test_help_loads_neither_torch_nor_ray() -> None:
    """`sweeper --help` answers at once."""
    code = (
        "import sys\n"
        "from sweeper.cli import main\n"
        "sys.argv = ['sweeper', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'optuna', 'pandas', 'scipy', 'sqlalchemy', 'plotly', 'sklearn'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))\n"
    )
    ran = python("-c", code)
    assert "launch" in ran.stdout
    assert ran.stderr == ""


def test_reading_a_spec_loads_neither_torch_nor_ray() -> None:
    """A wrong key is reported before anything slow starts."""
    code = (
        "import sys\nfrom sweeper import spec, design\n"
        "found = spec.load('search_spaces/batch_size.yaml')\n"
        "print(design.count(found), sorted({'torch', 'ray', 'optuna', 'scipy'} & set(sys.modules)))"
    )
    ran = python("-c", code)
    assert ran.stdout.split("\n")[0] == "8 []", ran.stderr


def test_the_status_loads_no_statistics_that_it_does_not_need() -> None:
    """`sweeper status` says the answer of a sweep without waiting for SciPy's largest parts."""
    code = (
        "import sys, sweeper.so_far, sweeper.status, sweeper.cli.show\n"
        "heavy = {'torch', 'ray', 'optuna', 'scipy.stats', 'scipy.optimize', 'plotly'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = python("-c", code)
    assert ran.stdout.strip() == "[]", ran.stderr


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def called(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def dotted(node: ast.expr) -> str:
    """`torch.load` for its tree; a single name after whatever else it is an attribute of."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def with_shell(call: ast.Call) -> bool:
    return any(
        keyword.arg == "shell"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        for keyword in call.keywords
    )


def offences(source: str) -> list[str]:
    """What a spec, a database or a checkpoint could use to run code."""
    tree = ast.parse(source)
    roots = {name.split(".")[0] for name in imported(tree)}
    found = sorted(roots & FORBIDDEN_IMPORTS)
    for call in called(tree):
        found += [dotted(call.func)] if dotted(call.func) in FORBIDDEN_CALLS else []
        found += ["shell"] if with_shell(call) else []
    return found


def test_four_doors_lead_to_the_trainer() -> None:
    """What comes without torch may be used anywhere; the rest is to train, and to predict."""
    light = (
        "blocks",
        "builtin",
        "cache",
        "catalogue",
        "config",
        "data_config",
        "cores",
        "folders",
        "groups",
        "identity",
        "levers",
        "notes",
        "plugins",
        "streams",
        "weight_files",
        "compiled.build",
    )
    anywhere = {f"trainers.{name}" for name in light}
    names = ("engine/worker.py", "engine/data_facts.py", "train.py", "predict.py")
    doors = {ROOT / "sweeper" / name for name in names}
    outside = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "sweeper") and path not in doors
        for name in imported(ast.parse(path.read_text("utf-8")))
        if name.split(".")[0] == "trainers" and name not in anywhere
    ]
    assert outside == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles_evaluates_or_shells(path: Path) -> None:
    """Case 55: names map to registries; data never becomes code."""
    assert offences(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from pickle import loads", ["pickle"]),
        ("import cloudpickle as c", ["cloudpickle"]),
        ("eval('1')", ["eval"]),
        ("exec(code)", ["exec"]),
        ("import torch\ntorch.load('x')", ["torch.load"]),
        ("subprocess.run(a, shell=True)", ["shell"]),
        ("subprocess.run(a, shell=maybe)", ["shell"]),
        ("subprocess.run(a, shell=False)\nmodel.eval()\nre.compile('x')", []),
    ],
)
def test_the_search_for_offences_finds_them(source: str, found: list[str]) -> None:
    """A lint that finds nothing proves nothing."""
    assert offences(source) == found
