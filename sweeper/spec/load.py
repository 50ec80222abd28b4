"""From a file and its overrides to a `Spec`, or to one line that says what is wrong and where."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError

from sweeper.errors import SpecError
from sweeper.spec import complaints, document, rules
from sweeper.spec.document import Node
from sweeper.spec.models import VERSION, SpecFile
from sweeper.spec.rules import NOTHING, Problem
from trainers.config import PLACES

ROLES = ("scientific", "nuisance")
BY_FACTOR = (*ROLES, "reference")  # blocks whose keys are factors, dotted


class Spec(SpecFile):
    """A spec that has passed every check that needs no data."""

    text: str = Field(default="", exclude=True)  # as written, overrides not applied
    source: str = Field(default="", exclude=True)  # the file; of a text, what stands for it
    warnings: tuple[str, ...] = Field(default=(), exclude=True)
    _root: Node = PrivateAttr(default=Node({}, ""))

    def problem(self, key: str, value: object, reason: str) -> SpecError:
        """The line for what only the data can tell, such as a trainer's `ConfigError`.

        It points at the factor's level when `key` is a factor, else at the key.
        """
        path: tuple[str | int, ...] = tuple(key.split("."))
        for role in ROLES:
            factor: Any = getattr(self, role).get(key)
            if factor is not None:
                listed = isinstance(factor, tuple) and value in factor
                path = (role, key, *([factor.index(value)] if listed else []))
        return _told(Problem(path, reason, value), self._root)

    def evaluated(self, number: int) -> Self:
        """The same, with so many evaluations of each run."""
        train = self.train.model_copy(update={"evaluations": number})
        return self.model_copy(update={"train": train})

    @classmethod
    def of(
        cls, file: SpecFile, *, text: str, source: str, warnings: tuple[str, ...], root: Node
    ) -> Spec:
        """A checked file, with what is needed to point into it later."""
        spec = cls.model_construct(**dict(file), text=text, source=source, warnings=warnings)
        spec._root = root
        return spec


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Spec:
    """The spec in a file; paths in it are from its folder, those of overrides from here.

    Raises:
        SpecError: one line, `FILE:LINE: key: value: what is wrong`.
    """
    name = os.fspath(path)
    return parse(document.read(path), name, overrides, folder=os.path.dirname(name))


def parse(
    text: str, name: str = "<spec>", overrides: Sequence[str] = (), *, folder: str | None = None
) -> Spec:
    """The spec in a text; `name` stands for the file in messages, `folder` is where it lies.

    Without a folder the paths stay as they are.

    Raises:
        SpecError: as `load`.
    """
    root = document.compose(text, name)
    _check_root(root)
    root = root if folder is None else _anchored(root, folder)
    root = override(root, overrides)
    root = root if folder is None else _anchored(root, "")
    try:
        file = rules.canonical(SpecFile.model_validate(root.plain))
        rules.check(file)
    except ValidationError as cause:
        raise _told(complaints.first(cause), root) from cause
    except Problem as problem:
        raise _told(problem, root) from problem
    notes = (
        str(_told(Problem((key,), note, root.entries[key].value), root))
        for key, note in rules.warnings(file).items()
    )
    return Spec.of(file, text=text, source=name, warnings=tuple(notes), root=root)


def _check_root(root: Node) -> None:
    if root.value is None:
        raise document.error(root.where, "", "the file is empty; `sweeper init` writes an example")
    if not isinstance(root.value, Mapping):
        kind = "a list" if isinstance(root.value, tuple) else "one value"
        raise document.error(root.where, "", f"the file is {kind}, a spec is a block of keys")
    version = root.entries.get("version")
    if version and isinstance(version.value, int) and version.value > VERSION:
        reason = f"this Sweeper reads version {VERSION}; a newer one wrote this"
        raise document.error(version.where, "version", reason, version.value)


def _anchored(root: Node, folder: str) -> Node:
    """The document with the paths of its data whole: workers run in folders of their own."""
    data = root.entries.get("data", root).entries
    for key in sorted(PLACES & data.keys()):
        node = data[key]
        if isinstance(node.value, str) and node.value and not os.path.isabs(node.value):
            whole = Node(os.path.abspath(os.path.join(folder, node.value)), node.where)
            root = document.put(root, ["data", key], whole, missing=SpecError)
            data = root.entries["data"].entries
    return root


def override(root: Node, overrides: Sequence[str]) -> Node:
    """The document with every `KEY=VALUE` put in its place.

    A factor is named whole, `scientific.train.batch_size=[2, 8]`; a key of its range after it,
    `nuisance.train.lr.trials=3`.
    """
    seen: set[str] = set()
    for text in overrides:
        key, equals, value = text.partition("=")
        key, where = key.strip(), f"--set {document.shown(text)}"
        if not equals or not key or not all(key.split(".")):
            raise document.error(where, "", "must be KEY=VALUE, such as train.epochs=5")
        if key in seen:
            raise document.error(where, key, "is set twice")
        if not value.strip():
            raise document.error(where, key, "has no value; write null for none")
        seen.add(key)
        root = _override_one(root, key, document.compose(value, where, lines=False, key=key))
    return root


def _override_one(root: Node, key: str, node: Node) -> Node:
    for role in ROLES:
        if key in root.entries.get(role, node).entries:
            hint = f"is a {role} factor; set {role}.{key} to change its levels"
            raise document.error(node.where, key, hint)

    def missing(part: str) -> SpecError:
        return document.error(node.where, key, f"{part!r} has no place here; set the whole block")

    return document.put(root, _keys(root, key), node, missing=missing)


def _keys(root: Node, key: str) -> list[str]:
    role, _, rest = key.partition(".")
    if role not in BY_FACTOR or not rest:
        return key.split(".")
    factor, _, last = rest.rpartition(".")
    return [role, factor, last] if factor in root.entries.get(role, root).entries else [role, rest]


def _told(problem: Problem, root: Node) -> SpecError:
    node, keys = root, [str(part) for part in problem.path if not isinstance(part, int)]
    for part in problem.path:
        children = node.value if isinstance(node.value, tuple) else ()
        if isinstance(part, int) and part < len(children):
            node = children[part]
        elif isinstance(part, str) and part in node.entries:
            node = node.entries[part]
    value = () if problem.value is NOTHING else (problem.value,)
    return document.error(node.where, ".".join(keys), problem.reason, *value)
