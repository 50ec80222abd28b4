"""Reads a file and its overrides into a `Spec`, or reports every problem in a line each."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError

from sweeper.errors import SpecError
from sweeper.spec import complaints, document, rules
from sweeper.spec.document import Position, YamlNode
from sweeper.spec.models import OWN, VERSION, SpecFile
from sweeper.spec.problems import NOTHING, Problem
from trainers.data_config import PLACES
from trainers.weight_files import pinned

ROLES = ("scientific", "nuisance")
MOST_LINES = 20
WEIGHTS = ".train.weights"
BY_FACTOR = (*ROLES, "reference", "fixed")  # blocks whose keys are factors, dotted


class Spec(SpecFile):
    """A spec that has passed every check that needs no data."""

    text: str = Field(default="", exclude=True)  # as written, without overrides
    source: str = Field(default="", exclude=True)  # the file, or a name for a text
    warnings: tuple[str, ...] = Field(default=(), exclude=True)
    _root: YamlNode = PrivateAttr(default=YamlNode({}, Position("")))

    def problem(self, key: str, value: object, reason: str) -> SpecError:
        """Makes the error of a problem that the data reveal, such as a trainer's `ConfigError`.

        It points at the factor's level if `key` is a factor, or else at the key.
        """
        path: tuple[str | int, ...] = tuple(key.split("."))
        for role in ROLES:
            factor: Any = getattr(self, role).get(key)
            if factor is not None:
                listed = isinstance(factor, tuple) and value in factor
                path = (role, key, *([factor.index(value)] if listed else []))
        for at, one in enumerate(self.compare):
            if key in one.levels and one.levels[key] == value:
                path = ("compare", at, key)
        return _error(Problem(path, reason, value), self._root)

    def evaluated(self, number: int) -> Self:
        """The same spec, with this number of evaluations of each run."""
        train = self.train.model_copy(update={"evaluations": number})
        return self.model_copy(update={"train": train})

    def overridden(self, overrides: Sequence[str]) -> Spec:
        """Applies every `KEY=VALUE` and checks the spec again.

        Raises:
            SpecError: as in `load`.
        """
        root, rejected = override(self._root, overrides)
        return _spec(_anchored(root, ""), rejected, text=self.text, source=self.source)

    @classmethod
    def of(
        cls, file: SpecFile, *, text: str, source: str, warnings: tuple[str, ...], root: YamlNode
    ) -> Spec:
        """Combines a checked file with what later messages need to point into it."""
        spec = cls.model_construct(**dict(file), text=text, source=source, warnings=warnings)
        spec._root = root
        return spec


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Spec:
    """Reads a file; its paths are relative to its folder, those of overrides to the current one.

    Raises:
        SpecError: a line for each problem, `FILE:LINE: key: value: reason`.
    """
    name = os.fspath(path)
    return parse(document.read(path), name, overrides, folder=os.path.dirname(name))


def parse(
    text: str, name: str = "<spec>", overrides: Sequence[str] = (), *, folder: str | None = None
) -> Spec:
    """Reads the spec in a text; `name` replaces the file in messages, `folder` is its folder.

    Without a folder the paths stay as they are.

    Raises:
        SpecError: as in `load`.
    """
    root = document.compose(text, name)
    _check_root(root)
    root = root if folder is None else _anchored(root, folder)
    root, rejected = override(root, overrides)
    root = root if folder is None else _anchored(root, "")
    return _spec(root, rejected, text=text, source=name)


def _spec(root: YamlNode, rejected: Sequence[SpecError], *, text: str, source: str) -> Spec:
    """The spec in a document; `rejected` are the errors of its overrides.

    Raises:
        SpecError: as in `load`.
    """
    file, problems = _checked(root)
    _raise_all([*rejected, *(_error(problem, root) for problem in problems)])
    notes = (
        str(_error(Problem((key,), note, root.entries[key].plain), root))
        for key, note in rules.warnings(file).items()
    )
    return Spec.of(file, text=text, source=source, warnings=tuple(notes), root=root)


def _checked(root: YamlNode) -> tuple[SpecFile, list[Problem]]:
    """The spec in a document, and its problems; with problems the spec must not be used.

    Factors are checked even if keys are unknown or values have wrong types. The rules between keys
    apply only if both are right.
    """
    try:
        context = {OWN: "trainer" in root.entries}
        file, wrong = rules.canonical(SpecFile.model_validate(root.plain, context=context))
        return file, wrong or rules.broken(file)
    except ValidationError as cause:
        problems = complaints.every(cause)
    file, wrong = rules.canonical(_factors(root, {problem.path[:2] for problem in problems}))
    return file, problems + wrong


def _factors(root: YamlNode, wrong: Collection[tuple[str | int, ...]]) -> SpecFile:
    """A spec of the factors that are not among the wrong ones, and of nothing else."""
    blocks: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        block = root.entries.get(role, YamlNode({}, root.where))
        right = (name for name in block.entries if (role, name) not in wrong)
        blocks[role] = {name: block.entries[name].plain for name in right}
    trainer = root.entries.get("trainer")
    own = {"trainer": str(trainer.value)} if trainer is not None and trainer.value else {}
    return SpecFile.model_validate({"name": "factors", **own, **blocks})


def _raise_all(errors: Sequence[SpecError]) -> None:
    """Raises all errors as one: those of overrides, then those of the file by line."""
    lines = list(dict.fromkeys(str(error) for error in sorted(errors, key=lambda e: e.line)))
    if len(lines) > MOST_LINES:
        lines[MOST_LINES:] = [f"and {len(lines) - MOST_LINES} more"]
    if lines:
        raise SpecError(*lines)


def _check_root(root: YamlNode) -> None:
    if root.value is None:
        raise document.error(root.where, "", "the file is empty; `sweeper init` writes an example")
    if not isinstance(root.value, Mapping):
        kind = "a list" if isinstance(root.value, tuple) else "one value"
        raise document.error(root.where, "", f"the file is {kind}, a spec is a block of keys")
    version = root.entries.get("version")
    if version and isinstance(version.value, int) and version.value > VERSION:
        reason = f"this Sweeper reads version {VERSION}; a newer one wrote this"
        raise document.error(version.where, "version", reason, version.value)


def _anchored(root: YamlNode, folder: str) -> YamlNode:
    """The document with absolute paths, because workers run in other folders.

    A file of weights gets the hash of its content as well.
    """
    root = _with_weights(root, folder)
    data = root.entries.get("data", root).entries
    for key in sorted(PLACES & data.keys()):
        node = data[key]
        if isinstance(node.value, str) and node.value and not os.path.isabs(node.value):
            whole = YamlNode(os.path.abspath(os.path.join(folder, node.value)), node.where)
            root = document.put(root, ["data", key], whole, missing=SpecError)
            data = root.entries["data"].entries
    return root


def _with_weights(node: YamlNode, folder: str, path: str = "") -> YamlNode:
    """The node with pinned files of weights, under `train`, in a named cell or as levels."""
    value = node.value
    if isinstance(value, Mapping):
        inner = {key: _with_weights(one, folder, f"{path}.{key}") for key, one in value.items()}
        return YamlNode(inner, node.where)
    if isinstance(value, tuple):
        return YamlNode(tuple(_with_weights(one, folder, path) for one in value), node.where)
    if isinstance(value, str) and value and path.removesuffix(".levels").endswith(WEIGHTS):
        return YamlNode(pinned(value, folder), node.where)
    return node


def override(root: YamlNode, overrides: Sequence[str]) -> tuple[YamlNode, list[SpecError]]:
    """Applies every `KEY=VALUE`; returns the document and the errors of the rejected ones.

    A factor has its whole name, `scientific.train.batch_size=[2, 8]`; a key of its range follows
    it, `nuisance.train.lr.trials=3`.
    """
    seen: set[str] = set()
    rejected: list[SpecError] = []
    for text in overrides:
        try:
            root = _overridden(root, text, seen)
        except SpecError as error:
            rejected.append(error)
    return root, rejected


def _overridden(root: YamlNode, text: str, seen: set[str]) -> YamlNode:
    key, equals, value = text.partition("=")
    key, where = key.strip(), Position(f"--set {document.shown(text)}")
    if not equals or not key or not all(key.split(".")):
        raise document.error(where, "", "must be KEY=VALUE, such as train.epochs=5")
    if key in seen:
        raise document.error(where, key, "is set twice")
    if not value.strip():
        raise document.error(where, key, "has no value; write null for none")
    seen.add(key)
    return _override_one(root, key, document.compose(value, where.name, lines=False, key=key))


def _override_one(root: YamlNode, key: str, node: YamlNode) -> YamlNode:
    for role in ROLES:
        if key in root.entries.get(role, node).entries:
            hint = f"is a {role} factor; set {role}.{key} to change its levels"
            raise document.error(node.where, key, hint)

    listed = root.entries["compare"].value if "compare" in root.entries else ()
    if isinstance(listed, tuple) and listed and all(key in one.entries for one in listed):
        hint = "is set in every entry of compare; set compare to change them"
        raise document.error(node.where, key, hint)

    def missing(part: str) -> SpecError:
        return document.error(node.where, key, f"{part!r} cannot be set here; set the whole block")

    return document.put(root, _keys(root, key), node, missing=missing)


def _keys(root: YamlNode, key: str) -> list[str]:
    role, _, rest = key.partition(".")
    if role not in BY_FACTOR or not rest:
        return key.split(".")
    factor, _, last = rest.rpartition(".")
    return [role, factor, last] if factor in root.entries.get(role, root).entries else [role, rest]


def _error(problem: Problem, root: YamlNode) -> SpecError:
    node, keys = root, [str(part) for part in problem.path if not isinstance(part, int)]
    for part in problem.path:
        children = node.value if isinstance(node.value, tuple) else ()
        if isinstance(part, int) and part < len(children):
            node = children[part]
        elif isinstance(part, str) and part in node.entries:
            node = node.entries[part]
    value = () if problem.value is NOTHING else (problem.value,)
    return document.error(node.where, ".".join(keys), problem.reason, *value)
