"""Gives the members of a pack the weights of a file to start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safetensors.torch import load_file
from torch import Tensor

from trainers.blocks import ConfigError
from trainers.pack import PackedNetworks
from trainers.weight_files import KEY, check


def load(pack: PackedNetworks, value: str) -> None:
    """Gives every member the file's weights, but for the head, which stays as it was drawn.

    Names are those of a saved model of Sweeper, or of the module of a network from a plug-in.
    Norm statistics are taken where the file has them.

    Raises:
        ConfigError: a layer is missing, or has another shape; the message has the first.
    """
    check(value)
    path = value.partition("#")[0]
    tensors = load_file(path)
    blocks = pack.parameters.blocks()
    for name in pack.design.own:
        if not name.startswith(pack.design.blueprint.head):
            target = blocks[name]
            target.copy_(_fitting(tensors, name, tuple(target.shape[1:]), path))
    for part, flat in (("mean", pack.statistics.mean), ("var", pack.statistics.var)):
        for name, block in pack.statistics.layout.split(flat).items():
            if f"{name}.{part}" in tensors:
                block.copy_(tensors[f"{name}.{part}"])


def _fitting(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], path: str) -> Tensor:
    """The tensor of a layer."""
    found = tensors.get(name, tensors.get(name.removeprefix("module.")))
    if found is None:
        has = ", ".join(list(tensors)[:3])
        reason = f"does not fit the network: it has no layer {name!r}; its first are {has}"
        raise ConfigError(KEY, path, reason)
    if tuple(found.shape) != shape:
        reason = f"does not fit the network: its layer {name!r} has the shape "
        reason += f"{_times(found.shape)}, and the network's {_times(shape)}"
        raise ConfigError(KEY, path, reason)
    return found


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
