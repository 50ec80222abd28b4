"""What `import sweeper` gives, and what it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from patience import HANG

import sweeper

ROOT = Path(__file__).parents[2]


def test_the_public_names_are_these() -> None:
    """A name that goes breaks somebody's notebook; a name that comes must be kept."""
    assert sweeper.__all__ == [
        "EngineError",
        "HeldError",
        "InputError",
        "Spec",
        "SpecError",
        "StoreError",
        "Sweep",
        "SweepHalted",
        "SweeperError",
        "__version__",
        "connect",
        "launch",
        "load_spec",
        "open",
        "trainable",
    ]
    for name in sweeper.__all__:
        assert getattr(sweeper, name) is not None


def test_the_types_that_editors_see_are_of_the_same_names() -> None:
    """The stub has every public name, and no other."""
    tree = ast.parse((ROOT / "sweeper" / "__init__.pyi").read_text("utf-8"))
    imported = {
        alias.asname
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {*sweeper.__all__} - {"__version__"}
    assert (ROOT / "sweeper" / "py.typed").exists()


def test_importing_sweeper_loads_nothing_heavy() -> None:
    """A notebook's first cell answers at once."""
    code = (
        "import sys, sweeper\n"
        "sweeper.load_spec('batch_size')\n"
        "heavy = {'torch', 'ray', 'optuna', 'pandas', 'scipy', 'sqlalchemy', 'plotly', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HANG
    )
    assert ran.stdout == "[]\n", ran.stderr
