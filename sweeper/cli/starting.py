"""What `sweeper init` writes: a spec file to start from, and the schema for editors."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sweeper import files
from sweeper.errors import InputError

SCHEMA = "sweeper.schema.json"
# The first line of a spec file; the YAML language server, which most editors use, reads it.
EDITORS = f"# yaml-language-server: $schema={SCHEMA}\n"


def write(out: Path, text: str, *, force: bool) -> Path:
    """Writes a spec file, named by its own path, and the schema beside it; the schema's path.

    A schema that is there is replaced: it belongs to the Sweeper that wrote it.

    Raises:
        InputError: the spec file exists, a file of that name is no schema, or one cannot be
            written.
    """
    from sweeper.spec import json_schema

    schema = out.with_name(SCHEMA)
    if out.exists() and not force:
        raise InputError(f"{out} exists; --force overwrites it")
    if not (force or _replaceable(schema)):
        raise InputError(f"{schema} exists and is no schema of Sweeper's; --force overwrites it")
    _write(schema, json.dumps(json_schema(), indent=2) + "\n")
    _write(out, EDITORS + renamed(text, out.stem))
    return schema


def renamed(text: str, name: str) -> str:
    """Returns a spec's text with another `name:`, its comments untouched."""
    return re.sub(r"(?m)^name:.*$", lambda _: f"name: {json.dumps(name)}", text, count=1)


def _replaceable(path: Path) -> bool:
    from sweeper.spec import json_schema

    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("title") == json_schema()["title"]


def _write(path: Path, text: str) -> None:
    try:
        files.write(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
