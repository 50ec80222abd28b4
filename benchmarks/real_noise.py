"""Trains 200 replicates of twelve cells, and keeps their accuracies for tests/analysis.

Simulated laws of noise are guesses. These are real ones: near the ceiling, near 0, skewed, with
collapses. `tests/analysis/test_real_noise.py` draws blocks of 3, 5 and 10 replicates from them, and
docs/statistics.md says how often the intervals of such blocks hold the mean of all 200.

    python benchmarks/real_noise.py FOLDER

FOLDER holds the databases; the same command continues where an earlier one was stopped. Seen on two
cores that others used too, 30 November 2026: 32 minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from sklearn.datasets import load_breast_cancer

from sweeper.analysis.frames import load
from sweeper.analysis.measures import Measure, responses
from sweeper.store import Store

OUT = Path(__file__).parents[1] / "tests" / "golden" / "real_noise.csv"
NAMES = ("minority_accuracy", "balanced_accuracy")
MEASURES = [Measure(one, one, ("test", one, ""), "points", "maximize") for one in NAMES]
SPECS = {
    "digits": """\
name: digits
question: How do 200 replicates of six cells vary?
data: {dataset: digits, imbalance: {profile: exponential}}
train: {model: resnet, width: 0.5, epochs: 10, lr: 0.1, lr_scaling: sqrt, evaluations: 1}
scientific:
  train.batch_size: [4, 16, 64]
  data.imbalance.train_ratio: [1.0, 0.05]
replicates: 200
objective: minority_accuracy
resources: {workers: 1}
""",
    "table": """\
name: table
question: How do 200 replicates of six cells vary?
data: {dataset: table, path: table.parquet, target: diagnosis,
       imbalance: {profile: exponential, train_ratio: 0.05}}
train: {model: mlp, width: 0.25, epochs: 10, lr: 0.1, lr_scaling: sqrt, evaluations: 1}
scientific:
  train.batch_size: [4, 8, 16, 32, 64, 128]
replicates: 200
objective: minority_accuracy
resources: {workers: 1}
""",
}


def write(folder: Path) -> None:
    """The specs, and scikit-learn's table of breast cancer (569 rows, 30 columns, two classes)."""
    for name, text in SPECS.items():
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    found: Any = load_breast_cancer(as_frame=True)
    names = dict(enumerate(found.target_names))
    table = found.data.assign(diagnosis=found.target.map(names))
    table.to_parquet(folder / "table.parquet", index=False)


def train(folder: Path, name: str) -> None:
    """Launches one spec by the real command."""
    code = "from sweeper.cli import main; main()"
    words = ["launch", f"{name}.yaml", "--yes", "--storage", f"sqlite:///{name}.db"]
    subprocess.run([sys.executable, "-c", code, *words], cwd=folder, check=True)


def rows(folder: Path, name: str) -> Iterator[str]:
    """A line a measure and cell: the data, the measure, the levels, and the value of each run."""
    with Store.open(f"sqlite:///{folder / name}.db", create=False) as store:
        frames = load(store, name)
    for measure in MEASURES:
        y = responses(frames, measure=measure, cells=list(frames.cells.index))
        assert not y.isna().any(axis=None), "a run has failed"
        factors = frames.cells["factors"].to_dict()
        for cell, values in zip(y.index, y.to_numpy(dtype=float), strict=True):
            text = " ".join(f"{one:g}" for one in factors[cell].values())
            yield ",".join([name, measure.name, text, *(f"{one:.3f}" for one in values)])


def header() -> Iterator[str]:
    """How the numbers were made."""
    yield "Final test accuracies in percent of 200 replicates of each cell of two sweeps."
    yield "Made by `python benchmarks/real_noise.py FOLDER`, and read by test_real_noise.py."
    packages = ("sweeper", "torch", "numpy", "scikit-learn")
    versions = ", ".join(f"{one} {metadata.version(one)}" for one in packages)
    yield f"Versions: {versions}; Python {sys.version.split()[0]}; one CPU worker."
    yield "The table is scikit-learn's breast cancer data. The specs:"
    for text in SPECS.values():
        yield ""
        yield from text.splitlines()
    yield ""
    yield "Columns: data, measure, levels in the order of the spec, replicates 0 to 199."


def main() -> None:
    """Trains, and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    write(folder)
    for name in SPECS:
        train(folder, name)
    lines = [f"# {line}".rstrip() for line in header()]
    lines += [row for name in SPECS for row in rows(folder, name)]
    OUT.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
