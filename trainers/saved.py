"""Saves trained models and applies them to new data: one folder a model, nothing unpickled.

    model.safetensors   parameters and batch-norm statistics, by name
    model.json          configuration, classes, how to read new data, metrics
    README.md           the model card

Letters: N samples, C classes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from torch import Tensor

import trainers
from trainers import card, files
from trainers.config import Config, ConfigError
from trainers.data.columns import Encoder
from trainers.data.dataset import Dataset
from trainers.data.shape import TableShape
from trainers.data.unseen import Inputs, Samples
from trainers.data_config import PLACES
from trainers.feed import Pool
from trainers.forms import FORMS
from trainers.layout import Layout
from trainers.levers import SSL
from trainers.loop import PackTrainer, RoundResult
from trainers.losses.logit_adjusted import log_prior
from trainers.metrics import METRICS, layout
from trainers.pack import PackDesign, PackedNetworks, design
from trainers.parameters import Parameters, Statistics

FORMAT = 2  # of model.json; rises when a key changes its meaning or is removed
WEIGHTS, FACTS, CARD = "model.safetensors", "model.json", "README.md"
STATISTICS, CONSTANT = (".mean", ".var"), "constant."


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network, and everything needed to use it.

    Attributes:
        facts: the content of model.json.
    """

    config: Config
    classes: tuple[str, ...]
    inputs: Inputs
    pack: PackedNetworks
    facts: Mapping[str, Any]

    def logits(self, samples: Samples) -> Tensor:
        """Logits (N, C), in the order of `classes`, equal to those of the trainer's evaluation."""
        device, precision = self.pack.design.device, self.pack.design.precision
        pool = Pool(
            _dataset(samples, self.inputs, self.classes), device=device, dtype=precision.dtype
        )
        index = torch.arange(len(samples), device=device).split(pool.evaluation_size(1))
        found = [self.pack.evaluate(self._enter(pool, part))[0] for part in index]
        logits = torch.cat(found)
        tau = self.config.train.post_hoc_tau
        if tau == 0:
            return logits
        counts = torch.tensor([self.facts["train_counts"]], device=device)
        return logits - tau * log_prior(counts, logits)[0]

    def _enter(self, pool: Pool, index: Tensor) -> Tensor:
        x = pool.normalise(pool.encode(pool.raw("train", index[None])))
        return self.pack.design.form.images(x.transpose(0, 1)) if x.dim() == 5 else x

    def probabilities(self, samples: Samples) -> np.ndarray:
        """Probabilities (N, C) float64; each row sums to 1."""
        return torch.softmax(self.logits(samples).double(), dim=1).cpu().numpy()


def _dataset(samples: Samples, inputs: Inputs, classes: tuple[str, ...]) -> Dataset:
    """The samples as a data set, which knows how to encode and normalise inputs."""
    sizes = () if inputs.encoder is None else inputs.encoder.cardinalities
    codes = None if samples.codes is None else {"train": samples.codes}
    y = {"train": np.zeros(len(samples), dtype=np.int64)}
    return Dataset(
        "unseen",
        inputs.kind,
        {"train": samples.x},
        codes,
        sizes,
        y,
        classes,
        "",
        inputs.mean,
        inputs.std,
    )


def save(
    folder: Path,
    trainer: PackTrainer,
    dataset: Dataset,
    result: RoundResult,
    *,
    evidence: Any = None,
) -> None:
    """Saves the network of `result`'s member, as evaluated at the end of that round.

    Args:
        evidence: JSON with the reasons for this configuration; the card shows it.

    Raises:
        ValueError: the round ended without an evaluation.
        OSError: the folder cannot be written.
    """
    if result.numbers is None:
        raise ValueError(f"round {result.round} was not evaluated")
    with trainer.evaluated():
        tensors = _tensors(trainer.pack, trainer.alive.index(result.member))
    weights = serialise(tensors)
    facts = {
        "format": FORMAT,
        "trainer": {
            "version": trainers.VERSION,
            "torch": torch.__version__,
            "form": trainer.form,
        },
        **_run(trainer, dataset, result),
        "metrics": metrics(
            result.numbers, layout(dataset.classes, dataset.y, trainer.config.train.observe)
        ),
        "parameters": sum(
            tensor.numel()
            for name, tensor in tensors.items()
            if not name.endswith(STATISTICS) and not name.startswith(CONSTANT)
        ),
        "evidence": evidence,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
    files.write(folder / WEIGHTS, weights)
    files.write(folder / FACTS, text.encode())
    files.write(folder / CARD, card.card(facts).encode())


def _run(trainer: PackTrainer, dataset: Dataset, result: RoundResult) -> dict[str, Any]:
    """The run of `result`'s member and its data, as JSON."""
    member = trainer.members[result.member]
    data = member.config.data
    return {
        "config": _config(member.config),
        "replicate": member.replicate,
        "round": result.round,
        "step": result.step,
        "classes": [dataset.classes[label] for label in trainer.places(result.member).argsort()],
        "train_counts": [int(count) for count in trainer.counts],
        "data": dataset.facts,
        "inputs": Inputs.of(dataset, data.target, image=data.image, size=data.size).as_json(),
    }


def _config(config: Config) -> dict[str, Any]:
    """The configuration as JSON, with files by name only: their folders are private."""
    tree = config.model_dump(mode="json")
    for key in PLACES:
        if tree["data"][key] is not None:
            tree["data"][key] = Path(tree["data"][key]).name
    if tree["train"]["weights"] is not None:
        tree["train"]["weights"] = Path(tree["train"]["weights"]).name
    return tree


def _tensors(pack: PackedNetworks, member: int) -> dict[str, Tensor]:
    """The parameters, statistics and constants of the network, without the projector."""
    statistics = pack.statistics
    means, variances = (statistics.layout.split(part) for part in (statistics.mean, statistics.var))
    found = {
        name: block[member]
        for name, block in pack.parameters.blocks().items()
        if not name.startswith("projector.")
    }
    found |= {f"{name}.mean": mean[member] for name, mean in means.items()}
    found |= {f"{name}.var": var[member] for name, var in variances.items()}
    constants = pack.design.blueprint.constants
    found |= {f"{CONSTANT}{name}": torch.from_numpy(one) for name, one in constants.items()}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}


def metrics(numbers: np.ndarray, names: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """A round's numbers by split: `overall`, `groups` and `classes`; None for a missing number."""
    tree: dict[str, Any] = {}
    for (split, metric, target), number in zip(names, numbers.tolist(), strict=True):
        kind, _, name = target.partition(":")
        value = number if math.isfinite(number) else None
        blocks = tree.setdefault(split, {"overall": {}, "groups": {}, "classes": {}})
        if kind == "class":
            blocks["classes"].setdefault(name, {})[metric] = value
        elif kind == "group":
            blocks["groups"].setdefault(name, {})[metric] = value
        elif metric in METRICS:
            blocks["overall"][metric] = value
    return tree


def load(folder: Path, *, device: str = "cpu") -> Model:
    """Loads the model in a folder.

    Raises:
        ConfigError: of the key `model`: there is no model, or it is damaged or of another format.
    """

    def refuse(reason: str) -> ConfigError:
        return ConfigError("model", str(folder), reason)

    if not (folder / FACTS).is_file() or not (folder / WEIGHTS).is_file():
        where = "is no model" if folder.is_dir() else "is no folder"
        raise refuse(f"{where}: `sweeper train CONFIG --out FOLDER` writes {FACTS} and {WEIGHTS}")
    weights = (folder / WEIGHTS).read_bytes()
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        if facts["format"] != FORMAT:
            reason = f"is of format {facts['format']}, and this version reads {FORMAT}"
            raise refuse(f"{reason}: train it again, or use the Sweeper that wrote it")
        if hashlib.sha256(weights).hexdigest() != facts["sha256"]:
            raise refuse(f"is damaged: {WEIGHTS} is not the file that {FACTS} was written with")
        return _model(facts, deserialise(weights), torch.device(device))
    except (KeyError, TypeError, ValueError, ValidationError, SafetensorError) as error:
        if isinstance(error, ConfigError):
            raise
        raise refuse(f"cannot be read ({type(error).__name__}): save it again") from error


def _model(facts: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device) -> Model:
    config = Config.model_validate(facts["config"])
    classes, inputs = tuple(facts["classes"]), Inputs.of_json(facts["inputs"])
    constants = {
        name.removeprefix(CONSTANT): tensor.numpy()
        for name, tensor in tensors.items()
        if name.startswith(CONSTANT)
    }
    size = inputs.shape if inputs.encoder is None else _columns(inputs.encoder)
    # Without self-supervision, because predictions do not use the projector.
    train = config.train.model_copy(update={"ssl": SSL()})
    form = FORMS.get(facts["trainer"]["form"], FORMS["native"])  # a plug-in's form may be missing
    made = design(
        train, inputs=size, classes=len(classes), form=form, device=device, constants=constants
    )
    return Model(config, classes, inputs, _pack(made, tensors), facts)


def _columns(encoder: Encoder) -> TableShape:
    """The shape of a table's encoded rows."""
    numbers = sum(1 + scale.marks_missing for scale in encoder.scales.values())
    return TableShape.of(numbers, encoder.cardinalities)


def _pack(made: PackDesign, tensors: Mapping[str, Tensor]) -> PackedNetworks:
    """A pack of one member with these tensors; a KeyError or ValueError if they do not fit."""
    specs = sorted(made.blueprint.parameters, key=lambda p: (not p.decays, p.size))
    for spec in specs:
        if tuple(tensors[spec.name].shape) != spec.shape:
            raise ValueError(f"{spec.name} has another shape")
    like = {"device": made.device, "dtype": made.precision.dtype}
    flat = torch.cat([tensors[spec.name].reshape(-1) for spec in specs]).to(**like)
    places = Layout(1, {spec.name: spec.size for spec in specs})
    parameters = Parameters(places, flat, specs, form=made.form)
    norms = made.blueprint.norms
    parts = [
        torch.cat([torch.empty(0), *(tensors[f"{name}.{part}"] for name in norms)]).to(**like)
        for part in ("mean", "var")
    ]
    if parts[0].numel() != sum(norms.values()):
        raise ValueError("the statistics have another shape")
    return PackedNetworks(made, parameters, Statistics(Layout(1, norms), *parts))
