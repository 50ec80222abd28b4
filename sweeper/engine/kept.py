"""What a training function keeps: tensors apart, all else as JSON. Nothing is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from sweeper.trainables import ReportError

PLAIN = (str, int, float, bool, type(None))


def packed(value: Any, tensors: dict[str, Any], *, at: str) -> dict[str, Any]:
    """The form of a value in JSON; its arrays are added to `tensors` by their place.

    Raises:
        ReportError: a part is neither a tensor, an array nor a JSON value.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PLAIN):
        return {"value": value}
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        pairs = [[_key(k, at), packed(one, tensors, at=f"{at}.{k}")] for k, one in items]
        return {"map": pairs}
    if isinstance(value, list | tuple):
        parts = [packed(one, tensors, at=f"{at}.{i}") for i, one in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": parts}
    kind = "array" if isinstance(value, np.ndarray) else "tensor"
    tensors[at] = _tensor(value, at)
    return {kind: at}


def _key(key: object, at: str) -> str | int:
    if isinstance(key, str | int) and not isinstance(key, bool):
        return key
    raise ReportError(
        f"report: state at {_place(at)}: the key {key!r} is neither a text nor a number"
    )


def _tensor(value: Any, at: str) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.ndarray):
        usable = value.flags.c_contiguous and value.flags.writeable
        try:
            return torch.from_numpy(value if usable else value.copy(order="C"))
        except (TypeError, ValueError):
            what = f"an array of {value.dtype}"
    else:
        what = f"a {type(value).__name__}"
    raise ReportError(
        f"report: state at {_place(at)} is {what}; keep tensors, NumPy arrays of numbers, texts, "
        "numbers, lists and dictionaries"
    )


def _place(at: str) -> str:
    return at.partition(".")[2] or "its top"


def copied(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors in memory of their own: a file cannot hold two that share it."""
    return {name: one.cpu().clone() for name, one in tensors.items()}


def unpacked(form: Mapping[str, Any], tensors: Mapping[str, Any]) -> Any:
    """The value that `packed` was given."""
    [(kind, inner)] = form.items()
    match kind:
        case "value":
            return inner
        case "map":
            return {key: unpacked(one, tensors) for key, one in inner}
        case "list":
            return [unpacked(one, tensors) for one in inner]
        case "tuple":
            return tuple(unpacked(one, tensors) for one in inner)
        case "array":
            return tensors[inner].numpy()
        case _:
            return tensors[inner]
