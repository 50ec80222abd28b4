"""From a file and its overrides to a `Spec`, or to a line for each thing that is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError

from sweeper.errors import SpecError
from sweeper.spec import complaints, document, rules
from sweeper.spec.document import Node
from sweeper.spec.models import VERSION, SpecFile
from sweeper.spec.rules import NOTHING, Problem
from trainers.config import PLACES

ROLES = ("scientific", "nuisance")
MOST_TOLD = 20  # lines
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
        SpecError: a line for each thing that is wrong, `FILE:LINE: key: value: what is wrong`.
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
    root, refused = override(root, overrides)
    root = root if folder is None else _anchored(root, "")
    file, problems = _checked(root)
    _refuse([*refused, *(_told(problem, root) for problem in problems)])
    notes = (
        str(_told(Problem((key,), note, root.entries[key].value), root))
        for key, note in rules.warnings(file).items()
    )
    return Spec.of(file, text=text, source=name, warnings=tuple(notes), root=root)


def _checked(root: Node) -> tuple[SpecFile, list[Problem]]:
    """The spec in a document, and what is wrong with it; a wrong one is not to be used.

    Where keys are unknown or values of the wrong type, the factors are still looked at. The rules
    between keys are for specs that are right in both.
    """
    try:
        file, wrong = rules.canonical(SpecFile.model_validate(root.plain))
        return file, wrong or rules.broken(file)
    except ValidationError as cause:
        problems = complaints.every(cause)
    file, wrong = rules.canonical(_factors(root, {problem.path[:2] for problem in problems}))
    return file, problems + wrong


def _factors(root: Node, wrong: Collection[tuple[str | int, ...]]) -> SpecFile:
    """A spec of those factors that are not among the wrong ones, and of nothing else."""
    blocks: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        block = root.entries.get(role, Node({}, root.where))
        right = (name for name in block.entries if (role, name) not in wrong)
        blocks[role] = {name: block.entries[name].plain for name in right}
    return SpecFile.model_validate({"name": "factors", **blocks})


def _refuse(errors: Sequence[SpecError]) -> None:
    """Raises them as one, in the order of the file's lines, after those of overrides."""
    lines = list(dict.fromkeys(str(error) for error in sorted(errors, key=_line)))
    if len(lines) > MOST_TOLD:
        lines[MOST_TOLD:] = [f"and {len(lines) - MOST_TOLD} more"]
    if lines:
        raise SpecError(*lines)


def _line(error: SpecError) -> int:
    """The line of the file that it is about; 0 of an override."""
    number = re.match(r".*?:(\d+): ", str(error))
    return int(number[1]) if number and not str(error).startswith("--set") else 0


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


def override(root: Node, overrides: Sequence[str]) -> tuple[Node, list[SpecError]]:
    """The document with every `KEY=VALUE` put in its place, and those that have none.

    A factor is named whole, `scientific.train.batch_size=[2, 8]`; a key of its range after it,
    `nuisance.train.lr.trials=3`.
    """
    seen: set[str] = set()
    refused: list[SpecError] = []
    for text in overrides:
        try:
            root = _overridden(root, text, seen)
        except SpecError as error:
            refused.append(error)
    return root, refused


def _overridden(root: Node, text: str, seen: set[str]) -> Node:
    key, equals, value = text.partition("=")
    key, where = key.strip(), f"--set {document.shown(text)}"
    if not equals or not key or not all(key.split(".")):
        raise document.error(where, "", "must be KEY=VALUE, such as train.epochs=5")
    if key in seen:
        raise document.error(where, key, "is set twice")
    if not value.strip():
        raise document.error(where, key, "has no value; write null for none")
    seen.add(key)
    return _override_one(root, key, document.compose(value, where, lines=False, key=key))


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
