"""`python -m trainers CONFIG.yaml [--replicate R] [--out FOLDER]`: train one run.

The file holds the `data:` and `train:` blocks of a spec, as YAML or JSON. Its relative paths start
from its own folder. An `evidence:` block, which `sweeper best` writes, is copied into the model
card and changes nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.error import MarkedYAMLError

from trainers import weight_files
from trainers.catalogue import get
from trainers.config import Config, ConfigError
from trainers.data_config import PLACES
from trainers.notes import notes, other_data

if TYPE_CHECKING:  # importing these needs torch
    from trainers.data.dataset import Dataset
    from trainers.loop import RoundResult


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line of JSON a round; returns 2 for an unusable file, 3 if the run diverges.

    The line of a round that ends with an evaluation holds its metrics. With --out, the network of
    the last round is saved in that folder, with its card.
    """
    parser = argparse.ArgumentParser(
        prog="python -m trainers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python -m trainers best.yaml --out model",
    )
    parser.add_argument("config", type=Path, help="a file with data: and train: blocks")
    parser.add_argument(
        "--replicate", type=int, default=0, help="which subset, start and order [0]"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="[cpu]")
    parser.add_argument("--threads", type=_threads, help="CPU threads [by the size of a step]")
    parser.add_argument("--out", type=Path, help="the folder to save the trained model in")
    parser.add_argument("--force", action="store_true", help="replace an existing model")
    given = vars(parser.parse_args(arguments))
    try:
        return run(given.pop("config"), **given)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads: use 1 or more")
    return int(text)


class Unusable(Exception):
    """A file that cannot be trained or a folder that cannot be written; the message is one line."""


def run(
    path: Path,
    *,
    replicate: int,
    device: str,
    threads: int | None,
    out: Path | None,
    force: bool,
    plugins: Sequence[str] = (),
) -> int:
    """Trains the configuration in the file `path`.

    Args:
        threads: CPU threads; None: `OMP_NUM_THREADS`, or else chosen by the size of a step.
        plugins: Python files that this process has run.

    Returns:
        The exit code: 0, 1 if this machine computes the layers wrongly, 3 if the run diverges.

    Raises:
        Unusable: the file, the device or `out` cannot be used.
    """
    try:
        config, evidence = read(path)
        check_device(device)
        if out is not None:
            check_saving(config.train.model, out)
            check_target(out, force=force)
        return train(
            config, replicate, device, threads=threads, plugins=plugins, out=out, evidence=evidence
        )
    except (ConfigError, ValidationError, YAMLError, OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path}: {_line(error)}") from error


def read(path: Path) -> tuple[Config, Any]:
    """Returns the configuration in a file, and its `evidence:` block, which training ignores.

    Raises:
        ConfigError, ValidationError, YAMLError, OSError: the file cannot be read or is invalid.
    """
    content = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ConfigError("file", path.name, "is not a block of keys: write data: and train:")
    evidence, data = content.pop("evidence", None), content.get("data")
    if isinstance(data, dict):
        for key in PLACES & data.keys():
            if isinstance(data[key], str):
                data[key] = str(path.parent.absolute() / Path(data[key]).expanduser())
    train = content.get("train")
    if isinstance(train, dict) and isinstance(train.get("weights"), str):
        train["weights"] = weight_files.pinned(train["weights"], str(path.parent))
    return Config.model_validate(content), _plain(evidence)


def _plain(value: Any) -> Any:
    """Converts a YAML value to a JSON value; dates and similar types become text."""
    return json.loads(json.dumps(value, default=str))


def _line(error: Exception) -> str:
    """The error as one line of text."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where, raised = ".".join(map(str, first["loc"])), first.get("ctx", {}).get("error")
        if isinstance(raised, ValueError):
            return f"{where}: {raised}"
        return f"{where}: {first['msg']}, not {first['input']!r}"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        # The line itself is not quoted: it may hold a secret.
        return f"line {error.problem_mark.line + 1}: not YAML: {error.problem}"
    return " ".join(str(error).split())


def check_device(device: str) -> None:
    """Checks that this machine has the device.

    Raises:
        ConfigError: PyTorch finds no GPU.
    """
    if device == "cuda":
        from torch import cuda

        if not cuda.is_available():
            raise ConfigError("--device", device, "is not available: PyTorch finds no GPU; use cpu")


def check_saving(model: str, folder: Path) -> None:
    """Checks that a model can be saved.

    Raises:
        ConfigError: it is no network.
    """
    if get("model", model).made is None:
        reason = f"cannot be written: only networks are saved, and {model} is none; leave --out out"
        raise ConfigError("--out", str(folder), reason)


def check_target(folder: Path, *, force: bool) -> None:
    """Creates the folder and checks that a model can be saved there, before hours of training.

    Raises:
        ConfigError: a file or a model is in the way, or the folder cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError("--out", str(folder), "is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise ConfigError("--out", str(folder), "is not empty; --force writes into it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = f"cannot be written ({error.strerror}); name another folder"
        raise ConfigError("--out", str(folder), reason) from error


def train(
    config: Config,
    replicate: int,
    device: str,
    *,
    threads: int | None = None,
    plugins: Sequence[str] = (),
    out: Path | None = None,
    evidence: Any = None,
) -> int:
    """Trains to the end or until the run diverges, saves the network, and returns the exit code."""
    # Busy-waiting threads take processor time from the threads that they wait for. PyTorch reads
    # the variable when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trainers.arithmetic import WrongArithmetic
    from trainers.catalogue import trainer_of
    from trainers.data import load
    from trainers.loop import Member
    from trainers.metrics import layout

    dataset = load(config.data)
    try:
        form = choose_form(config, dataset, device=device, threads=threads, plugins=plugins)
    except WrongArithmetic as error:
        print(error, file=sys.stderr)
        return 1
    made = trainer_of(config.train.model)
    trainer = made(dataset, [Member(config, replicate)], device=device, form=form)
    for note in filter(None, [*notes(dataset.facts), other_data(evidence, dataset.fingerprint)]):
        print(note, file=sys.stderr)
    names, result = layout(dataset.classes, dataset.y, config.train.observe), None
    while trainer.round < trainer.rounds:
        (result,) = trainer.train_round()
        if not _print(json.dumps(_shown(result, names))) and out is None:
            return 0  # the reader of stdout is gone, and there is nothing else to produce
        if not result.finite:
            print(f"diverged in round {result.round}; nothing is saved", file=sys.stderr)
            return 3
    if out is not None and result is not None:
        from trainers.saved import save

        save(out, trainer, dataset, result, evidence=evidence)
        print(f"saved in {out}; its card is {out / 'README.md'}", file=sys.stderr)
    return 0


def _shown(result: RoundResult, names: Sequence[tuple[str, str, str]]) -> dict[str, object]:
    """Returns what is printed of a round: round, step and, if it was evaluated, overall metrics."""
    from trainers.metrics import METRICS

    numbers = () if result.numbers is None else zip(names, result.numbers.tolist(), strict=True)
    metrics = {
        f"{split}.{metric}": round(number, 4)
        for (split, metric, target), number in numbers
        if metric in METRICS and not target
    }
    return {"round": result.round, "step": result.step, **metrics}


def choose_form(
    config: Config, dataset: Dataset, *, device: str, threads: int | None, plugins: Sequence[str]
) -> str:
    """Sets the number of threads and returns the form to train with, after checking its layers.

    Raises:
        ConfigError: the configuration cannot run on these data.
        WrongArithmetic: no form computes its layers correctly on this machine.
    """
    import torch

    from trainers.arithmetic import Guard
    from trainers.check import check
    from trainers.cores import cores
    from trainers.forms import DEFAULT
    from trainers.shapes import calls
    from trainers.threads import asked, threads_for

    samples, classes = sum(check(config, dataset.facts)), len(dataset.classes)
    layers = calls(config.train, inputs=dataset.inputs, classes=classes, samples=samples, members=1)
    threads = threads or asked() or threads_for(layers, most=cores())
    torch.set_num_threads(threads)
    if device != "cpu":
        return DEFAULT
    with Guard(threads=threads, plugins=plugins) as guard:
        choice = guard.choose(layers)
    for line in choice.lines:
        print(line, file=sys.stderr)
    return choice.form


def _print(line: str) -> bool:
    """Prints a line; returns False once the reader of stdout is gone."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
