"""Data sets that the server's owner has given names: `data: {registered: NAME}` in a spec.

A spec that comes over HTTP names no files. The registry is a TOML file with a table for each name,
which has the keys of a spec's `data:` block, with absolute paths.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from sweeper.errors import InputError, SpecError, nearest
from sweeper.spec import document

KEY = "registered"
PATHS = ("path", "test_path", "labels", "test_labels")

Registry = Mapping[str, Mapping[str, Any]]


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The registry in a file.

    Raises:
        InputError: it cannot be read, or an entry is no table of absolute paths.
    """
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"--data: {path}: cannot be read: {error}") from error
    for name, block in found.items():
        if not isinstance(block, dict):
            raise InputError(f"--data: {path}: {name}: a table is needed, such as [{name}]")
        for key in PATHS:
            if key in block and not Path(str(block[key])).is_absolute():
                raise InputError(
                    f"--data: {path}: {name}.{key}: {block[key]!r}: an absolute path is needed"
                )
    return found


def resolved(text: str, registry: Registry, *, stored: bool) -> tuple[str, Mapping[str, Any]]:
    """A spec with the registered data in the place of their name, and the data that it may name.

    Args:
        stored: the text is the service's own: its names were resolved before.

    Raises:
        SpecError: it is not YAML, or there is no such name.
    """
    root = document.compose(text, "spec").plain
    data = root.get("data") if isinstance(root, dict) else None
    if not isinstance(data, dict) or KEY not in data:
        return text, data if stored and isinstance(data, dict) else {}
    name = data[KEY]
    if not isinstance(name, str) or name not in registry:
        raise SpecError(
            f"spec: data.{KEY}: {name!r}: no such data here{nearest(str(name), registry)}"
        )
    from ruamel.yaml import YAML

    editor, out = YAML(), StringIO()
    tree = editor.load(text)
    block = {key: value for key, value in tree["data"].items() if key != KEY}
    tree["data"] = {**registry[name], **block}
    editor.dump(tree, out)
    return out.getvalue(), registry[name]
