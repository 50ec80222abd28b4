"""`python -m trainers CONFIG.yaml [--replicate R] [--out FOLDER]`: train one run.

The file holds the `data:` and `train:` blocks of a spec, as YAML or JSON; paths in it are from its
own folder. An `evidence:` block, such as `sweeper best` writes, goes into the model card and
changes nothing else.
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

from trainers.config import PLACES, Config, ConfigError
from trainers.notes import notes, other_data

if TYPE_CHECKING:  # it needs torch
    from trainers.data.dataset import Dataset
    from trainers.loop import RoundResult


def main(arguments: Sequence[str] | None = None) -> int:
    """One line of JSON a round on stdout; 2 for a configuration that cannot run, 3 if it diverges.

    A round that ends with an evaluation has its numbers in the line.

    With --out, the network of the last round is saved there, with its card.
    """
    parser = argparse.ArgumentParser(
        prog="python -m trainers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Example: python -m trainers best.yaml --out model",
    )
    parser.add_argument("config", type=Path, help="a file with data: and train: blocks")
    parser.add_argument("--replicate", type=int, default=0, help="which draw, start and order [0]")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="[cpu]")
    parser.add_argument("--threads", type=_threads, help="CPU threads [by the size of a step]")
    parser.add_argument("--out", type=Path, help="the folder to save the trained model in")
    parser.add_argument("--force", action="store_true", help="replace a model that is there")
    given = vars(parser.parse_args(arguments))
    try:
        return run(given.pop("config"), **given)
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads: use 1 or more")
    return int(text)


class Unusable(Exception):
    """A file that cannot be trained, or a target that cannot be written, in one line."""


def run(
    path: Path, *, replicate: int, device: str, threads: int | None, out: Path | None, force: bool,
    plugins: Sequence[str] = (),
) -> int:  # fmt: skip
    """Trains what the file `path` says: 0, 1 if this machine computes it wrongly, 3 if it diverges.

    Args:
        threads: of the CPU; None: by the size of a step, or `OMP_NUM_THREADS`.
        plugins: Python files that this process has run.

    Raises:
        Unusable: the file, the device or `out` cannot be used.
    """
    try:
        config, evidence = read(path)
        check_device(device)
        if out is not None:
            check_target(out, force=force)
        return train(
            config, replicate, device, threads=threads, plugins=plugins, out=out, evidence=evidence
        )
    except (ConfigError, ValidationError, YAMLError, OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path}: {_line(error)}") from error


def read(path: Path) -> tuple[Config, Any]:
    """The configuration in a file, and its `evidence:` block, which no run looks at.

    Raises:
        ConfigError, ValidationError, YAMLError, OSError: it cannot be read, or is none.
    """
    content = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ConfigError("file", path.name, "is no block of keys: data: and train: are needed")
    evidence, data = content.pop("evidence", None), content.get("data")
    if isinstance(data, dict):
        for key in PLACES & data.keys():
            if isinstance(data[key], str):
                data[key] = str(path.parent.absolute() / Path(data[key]).expanduser())
    return Config.model_validate(content), _plain(evidence)


def _plain(value: Any) -> Any:
    """What YAML holds as JSON can: dates and the like as text."""
    return json.loads(json.dumps(value, default=str))


def _line(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where, raised = ".".join(map(str, first["loc"])), first.get("ctx", {}).get("error")
        if isinstance(raised, ValueError):
            return f"{where}: {raised}"
        return f"{where}: {first['msg']}, not {first['input']!r}"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: not YAML: {error.problem}"  # quotes no line
    return " ".join(str(error).split())


def check_device(device: str) -> None:
    """Whether this machine has it.

    Raises:
        ConfigError: it has no GPU.
    """
    if device == "cuda":
        from torch import cuda

        if not cuda.is_available():
            raise ConfigError("--device", device, "is not here: PyTorch finds no GPU; use cpu")


def check_target(folder: Path, *, force: bool) -> None:
    """Whether a model can be saved there, in a folder that is made: said before hours of training.

    Raises:
        ConfigError: a file is in the way, or a model; or the folder cannot be written.
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
    """Trains to the end, or to where the run diverges (3), and saves the network in `out`."""
    # Threads that wait in a loop take a busy machine's time from those that they wait for. It is
    # read when PyTorch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from trainers.arithmetic import WrongArithmetic
    from trainers.data import load
    from trainers.loop import Member, PackTrainer
    from trainers.metrics import layout

    dataset = load(config.data)
    try:
        form = choose_form(config, dataset, device=device, threads=threads, plugins=plugins)
    except WrongArithmetic as error:
        print(error, file=sys.stderr)
        return 1
    trainer = PackTrainer(dataset, [Member(config, replicate)], device=device, form=form)
    for note in filter(None, [*notes(dataset.facts), other_data(evidence, dataset.fingerprint)]):
        print(note, file=sys.stderr)
    names, result = layout(dataset.classes, dataset.y), None
    while trainer.round < trainer.rounds:
        (result,) = trainer.train_round()
        if not _print(json.dumps(_shown(result, names))) and out is None:
            return 0  # nobody reads what is printed, and nothing else is made
        if not result.finite:
            print(f"diverged in round {result.round}; nothing is saved", file=sys.stderr)
            return 3
    if out is not None and result is not None:
        from trainers.saved import save

        save(out, trainer, dataset, result, evidence=evidence)
        print(f"saved in {out}; its card is {out / 'README.md'}", file=sys.stderr)
    return 0


def _shown(result: RoundResult, names: Sequence[tuple[str, str, str]]) -> dict[str, object]:
    """A round as it is printed, with the overall metrics where it was evaluated."""
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
    """The form to train with, its layers checked; sets the number of threads.

    Raises:
        ConfigError: the configuration cannot run on these data.
        WrongArithmetic: no form computes its layers right on this machine.
    """
    import torch

    from trainers.arithmetic import Guard
    from trainers.check import check
    from trainers.fused import FORMS
    from trainers.shapes import calls
    from trainers.threads import asked, cores, threads_for

    samples, classes = sum(check(config, dataset.facts)), len(dataset.classes)
    layers = calls(config.train, inputs=dataset.inputs, classes=classes, samples=samples, members=1)
    threads = threads or asked() or threads_for(layers, most=cores())
    torch.set_num_threads(threads)
    if device != "cpu":
        return next(iter(FORMS))
    with Guard(threads=threads, plugins=plugins) as guard:
        choice = guard.choose(layers)
    for line in choice.lines:
        print(line, file=sys.stderr)
    return choice.form


def _print(line: str) -> bool:
    """Whether somebody has read it: a network that is to be saved is trained anyway."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
