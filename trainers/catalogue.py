"""The catalogue: every named part of the trainer, built in or of a plug-in. Never imports torch.

A configuration names its network, loss, sampler and so on. Each name is an `Entry` here, with the
block of its parameters: the entry `focal` owns the block `train.focal`. Checks, the spec's
reference, prices and packs read the catalogue; only the trainer loads what an entry names.
`builtin.py` has the entries that come with Sweeper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Literal

from trainers.blocks import Block, ConfigError

Kind = Literal[
    "model", "loss", "sampler", "augmentation", "ssl", "sharpness", "optimizer", "observer"
]
DataKind = Literal["image", "table"]
BOTH: tuple[DataKind, ...] = ("image", "table")

# The key that names an entry of each kind.
KEYS: Mapping[Kind, str] = MappingProxyType({
    "model": "train.model",
    "loss": "train.loss",
    "sampler": "train.sampler",
    "augmentation": "train.augmentation",
    "ssl": "train.ssl.loss",
    "sharpness": "train.sam.method",
    "optimizer": "train.optimizer",
    "observer": "train.observe",
})  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A named part of the trainer.

    Attributes:
        kind: what it is a choice of.
        name: the word in a spec.
        made: what makes it: `module:name`, or the object itself. Each kind's package says what it
            must be: `trainers.losses`, `trainers.samplers`, `trainers.ssl` and so on. None for a
            model that is no network.
        parameters: the block of its parameters, `train.NAME`; None: it has none.
        data: the kinds of data that it is for.
        mixes: whether it mixes the samples of a batch, so that it must come last (augmentation).
        strong: whether it has a strength that may differ by class (augmentation).
        passes: forward passes of a batch for each pass without it (ssl, sharpness).
        needs: keys, such as `train.head`, with the value that the entry works with.
        uses: a model's keys of `train` that not every model has a place for, such as
            `dropout` or `numerical_embedding.kind`.
        trainer: what trains a model, `module:name`, with the methods of `PackTrainer`.
        package: a package that it needs and that not everybody installs; "": none.
        extra: the extra of Sweeper with that package.
        metrics, splits: the names of what it measures, and where (observer).
        check: a model whose name in a spec is `FAMILY:NAME`: what checks the whole word, as
            `module:function`.
        meaning: what it is, in one sentence, with its source.
    """

    kind: Kind
    name: str
    made: Any
    parameters: type[Block] | None = None
    data: tuple[DataKind, ...] = BOTH
    mixes: bool = False
    strong: bool = False
    passes: int = 1
    needs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    uses: tuple[str, ...] = ()
    trainer: str = "trainers.loop:PackTrainer"
    package: str = ""
    extra: str = ""
    metrics: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    check: str = ""
    meaning: str = ""

    def observed(self) -> list[tuple[str, str]]:
        """The (split, metric) of each thing that an observer measures."""
        return [(split, metric) for split in self.splits for metric in self.metrics]

    def load(self) -> Any:
        """What makes the part; imports its module if it has to."""
        return _imported(self.made) if isinstance(self.made, str) else self.made

    def check_word(self, word: str) -> None:
        """Checks that a word in a spec, which names the entry, can be used here.

        Raises:
            ConfigError: its package is not installed, or its family has no such network.
        """
        if self.package and find_spec(self.package) is None:
            reason = f"needs the package {self.package}: pip install 'sweeper[{self.extra}]'"
            raise ConfigError(KEYS[self.kind], word, reason)
        if self.check:
            _imported(self.check)(word)


def trainer_of(model: str) -> Any:
    """What trains a model: a class with the methods of `trainers.loop.PackTrainer`."""
    return _imported(get("model", model).trainer)


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


_ENTRIES: dict[tuple[Kind, str], Entry] = {}


def add(entry: Entry, *, replace: bool = False) -> None:
    """Puts an entry into the catalogue. A plug-in file calls this.

    Raises:
        ValueError: the kind is unknown, the name is taken and `replace` is not set, or another
            entry of this name has parameters.
    """
    if entry.kind not in KEYS:
        raise ValueError(f"{entry.kind!r} is no kind of entry; there are {', '.join(KEYS)}")
    key = (entry.kind, entry.name)
    if key in _ENTRIES and not replace:
        raise ValueError(f"there is a {entry.kind} {entry.name!r} already; use another name")
    others = [e for k, e in _ENTRIES.items() if k != key and e.name == entry.name and e.parameters]
    if others and entry.parameters:
        raise ValueError(f"{others[0].kind} {entry.name!r} owns the block train.{entry.name}")
    _ENTRIES[key] = entry


def entries(kind: Kind) -> dict[str, Entry]:
    """The entries of a kind by name, in the order in which they were added."""
    return {name: entry for (own, name), entry in _ENTRIES.items() if own == kind}


def get(kind: Kind, name: str, *, value: str | None = None) -> Entry:
    """The entry of a name.

    Args:
        kind: its kind.
        name: its name.
        value: the whole value in the spec, if the name is a part of it.

    Raises:
        ConfigError: there is none; the message has the nearest, and all of them.
    """
    valid = entries(kind)
    family, colon, _ = name.partition(":")
    if name in valid and not valid[name].check:
        return valid[name]
    if colon and f"{family}:NAME" in valid:
        return valid[f"{family}:NAME"]
    near = get_close_matches(name, valid, n=1, cutoff=0.0)[0]
    whole = value is None or value == name
    what = "is unknown" if whole else f"has the unknown part {name!r}"
    reason = f"{what}; the nearest is {near!r}; there are {', '.join(valid)}"
    raise ConfigError(KEYS[kind], name if value is None else value, reason)


def parameters() -> dict[str, type[Block]]:
    """The blocks of parameters by the name of the entry that owns them."""
    return {e.name: e.parameters for e in _ENTRIES.values() if e.parameters is not None}


def owner(name: str) -> Entry:
    """The entry that owns the block of parameters `train.NAME`."""
    return next(e for e in _ENTRIES.values() if e.name == name and e.parameters is not None)
